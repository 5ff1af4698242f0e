"""
Amounts in minor units as people count them.

The number of digits of an amount that come after the decimal point is the provider's decision, not the currency's: Stripe counts
Icelandic krónur in hundredths although nobody pays with one.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from schemas.providers import provider_of

NO_CURRENCY: Final = "xxx"
"""ISO 4217's code for no currency, for an amount that no event has stated completely."""

# ISO 4217, table A.1, amendment 179: every currency in use whose minor unit is not a hundredth.
_ISO: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        ("bif", "clp", "djf", "gnf", "isk", "jpy", "kmf", "krw", "pyg", "rwf", "ugx", "uyi", "vnd", "vuv", "xaf", "xof", "xpf"), 0
    ),
    **dict.fromkeys(("bhd", "iqd", "jod", "kwd", "lyd", "omr", "tnd"), 3),
    **dict.fromkeys(("clf", "uyw"), 4),
}
_NEVER_BROKEN: Final = frozenset({"isk", "ugx"})
_HUNDREDTHS: Final = 2


def minor_digits(currency: str, provider: str | None = None) -> int:
    """The number of digits behind the point, as the provider counts; without a known provider as ISO 4217 does."""
    known = provider_of(provider or "")
    own = known.minor_digits if known else {}
    code = currency.lower()
    return own.get(code, _ISO.get(code, _HUNDREDTHS))


def shown_digits(amount: int, currency: str, provider: str | None = None) -> int:
    """The number of those digits that people expect to read: none where the currency is never broken into hundredths."""
    digits = minor_digits(currency, provider)
    return 0 if currency.lower() in _NEVER_BROKEN and amount % 10**digits == 0 else digits


def value_of(amount: int, currency: str, provider: str | None = None) -> Decimal:
    """An amount in minor units of the provider, in whole units of the currency."""
    return Decimal(amount).scaleb(-minor_digits(currency, provider))


def text_of(amount: int, currency: str, provider: str | None = None) -> str:
    """The amount as text, exact to the last digit: `2990` of `eur` is `29.90 EUR`."""
    return f"{value_of(amount, currency, provider):.{shown_digits(amount, currency, provider)}f} {currency.upper()}"
