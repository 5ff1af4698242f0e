"""Numbers in base 62, as providers write the time into their ids."""

from __future__ import annotations

import string
from typing import Final

DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
"""The digits by value. Their bytes are in the same order, so that texts of one length sort like their numbers."""


def base62(number: int, length: int) -> str:
    """Return a number in this many digits. Raises OverflowError if it is negative or needs more of them."""
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
    if number:
        raise OverflowError(f"the number needs more than {length} digits")
    return digits
