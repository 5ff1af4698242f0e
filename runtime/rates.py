"""Rates in settings and in the runtime configuration, within the bounds of the counter of calls."""

import re
from typing import Final

from limits import RateLimitItem
from limits import parse as parse_rate

CALLS_MAX: Final = 1_000_000
"""The most calls of a rate; a rate without a limit is written `off`."""
_WINDOW_MAX: Final = 31 * 24 * 3600  # seconds
_RATE: Final = re.compile(r"[0-9]{1,7} ?(/|per) ?([1-9][0-9]{0,6} ?)?(second|minute|hour|day|month)s?", re.IGNORECASE)

_UNITS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 24 * 3600, "month": 30 * 24 * 3600}


def any_case(word: str) -> str:
    """Return a pattern of the word in any case, for readers that know no flag for case."""
    return "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in word)


def _up_to(most: int) -> str:
    """Return a pattern of the numbers from 1 to that one, without a leading zero."""
    digits = str(most)
    lower = [
        digits[:place] + f"[{'1' if place == 0 else '0'}-{int(digit) - 1}]" + f"[0-9]{{{len(digits) - place - 1}}}"
        for place, digit in enumerate(digits)
        if int(digit) > (1 if place == 0 else 0)
    ]
    shorter = [f"[1-9][0-9]{{0,{len(digits) - 2}}}"] if len(digits) > 1 else []
    return f"(?:{'|'.join([digits, *lower, *shorter])})"


_PERIODS: Final = "|".join(f"(?:{_up_to(_WINDOW_MAX // seconds)} ?)?{any_case(unit)}" for unit, seconds in _UNITS.items())
RATE_PATTERN: Final = (
    rf"^(?:{any_case('off')}|(?=[0-9]{{1,7}}(?![0-9]))0*{_up_to(CALLS_MAX)} ?(?:/|{any_case('per')}) ?(?:{_PERIODS})[sS]?)\Z"
)
"""The pattern for readers of JSON Schema, which know no flag for case and no number within a text."""
RATE_BOUNDS: Final = f"a rate like 200/second, of 1 to {CALLS_MAX} calls within 1 second to 31 days, or off"


def rate_of(text: str) -> RateLimitItem | None:
    """
    Parse a rate such as `200/second` or `10000/5 minutes`; `off` is None.

    Raises ValueError, which names the bounds.
    """
    if text.lower() == "off":
        return None
    # The library reads more, such as several rates, of which it would count the first alone.
    rate = parse_rate(text) if _RATE.fullmatch(text) else None
    if rate is None or not 1 <= rate.amount <= CALLS_MAX or not 1 <= rate.get_expiry() <= _WINDOW_MAX:
        raise ValueError(f"{RATE_BOUNDS} is expected")
    return rate
