"""A rate as settings and the runtime configuration write it, within what the count of calls can hold."""

import re
from typing import Final

from limits import RateLimitItem
from limits import parse as parse_rate

CALLS_MAX: Final = 1_000_000
"""Calls within the time of a rate, at most: one that nobody reaches is written `off`."""
_WINDOW_MAX: Final = 31 * 24 * 3600  # seconds
_RATE: Final = re.compile(r"[0-9]{1,7} ?(/|per) ?([1-9][0-9]{0,6} ?)?(second|minute|hour|day|month)s?", re.IGNORECASE)

RATE_BOUNDS: Final = f"a rate like 200/second, of 1 to {CALLS_MAX} calls within 1 second to 31 days, or off"


def rate_of(text: str) -> RateLimitItem | None:
    """
    `200/second`, `10000/5 minutes`, or None for `off`.

    Raises ValueError, which names the bounds.
    """
    if text.lower() == "off":
        return None
    # The library reads more, such as several rates, of which it would count the first alone.
    rate = parse_rate(text) if _RATE.fullmatch(text) else None
    if rate is None or not 1 <= rate.amount <= CALLS_MAX or not 1 <= rate.get_expiry() <= _WINDOW_MAX:
        raise ValueError(f"{RATE_BOUNDS} is expected")
    return rate
