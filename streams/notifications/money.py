"""Amounts as people read them."""

from typing import Final

# ISO 4217: currencies whose minor unit is not a hundredth.
_NONE: Final = frozenset(
    ("bif", "clp", "djf", "gnf", "isk", "jpy", "kmf", "krw", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf")
)
_THREE: Final = frozenset(("bhd", "iqd", "jod", "kwd", "lyd", "omr", "tnd"))


def money(amount: int, currency: str) -> str:
    """`2990` minor units of `eur` as `29.90 EUR`."""
    digits = 0 if currency.lower() in _NONE else 3 if currency.lower() in _THREE else 2
    sign, whole = "-" if amount < 0 else "", str(abs(amount)).rjust(digits + 1, "0")
    shown = f"{whole[:-digits]}.{whole[-digits:]}" if digits else whole
    return f"{sign}{shown} {currency.upper()}"
