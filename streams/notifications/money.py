"""Amounts as people read them."""

from copy import copy
from decimal import Decimal
from functools import lru_cache
from typing import Final

from babel import Locale, UnknownLocaleError

from schemas.currencies import minor_digits, shown_digits

_STANDARD: Final = "standard"


def money(amount: int, currency: str, *, provider: str | None = None, locale: str | None = None) -> str:
    """
    An amount in minor units of the provider as text, exact to the last digit.

    `2990` of `eur` is `29.90 EUR`; with a locale (BCP 47, such as `de-DE`) it is written as people there do: `29,90 €`. A locale
    that is not known counts as none.
    """
    value = Decimal(amount).scaleb(-minor_digits(currency, provider))
    digits = shown_digits(amount, currency, provider)
    known = _locale_of(locale) if locale else None
    if known is None:
        return f"{value:.{digits}f} {currency.upper()}"
    pattern = copy(known.currency_formats[_STANDARD])
    pattern.frac_prec = (digits, digits)
    return str(pattern.apply(value, known, currency=currency.upper(), currency_digits=False))


@lru_cache(maxsize=256)
def _locale_of(tag: str) -> Locale | None:
    """The locale of a tag, or the one of its language alone."""
    for candidate in (tag, tag.replace("_", "-").split("-", maxsplit=1)[0]):
        try:
            return Locale.parse(candidate.replace("_", "-"), sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    return None
