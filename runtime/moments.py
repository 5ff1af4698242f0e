"""Points in time as people write them."""

from datetime import UTC, datetime, timedelta
from typing import Final

from runtime.settings import parse_duration

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The earliest time that an id can hold; none of our events is older."""
_CHARACTERS: Final = frozenset("0123456789-:.,+TtWwZz ")
"""All that a time of ISO 8601 has; Python takes any character between date and time, and skips any after the microseconds."""
_LONGER_THAN_DATES: Final = 9  # digits; 20261124 is the longest number that begins a time


def written_time(text: str) -> datetime:
    """A time of ISO 8601, with its zone if it names one. Raises ValueError."""
    if not _CHARACTERS.issuperset(text):
        raise ValueError("this text has a character that no time has")
    return datetime.fromisoformat(text)


def time_of(text: str) -> datetime:
    """
    A time of ISO 8601, in UTC unless it names a zone; the epoch at the earliest.

    Raises ValueError.
    """
    if text[:_LONGER_THAN_DATES].isdecimal() and len(text) >= _LONGER_THAN_DATES:
        raise ValueError("this is a number, not a time")  # Python reads Unix milliseconds as a date, any separator and HHMM
    moment = written_time(text)
    try:
        return max(moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC), EPOCH)
    except OverflowError as error:
        raise ValueError("this time is beyond the years 1 to 9999 in UTC") from error


def moment_of(text: str, now: datetime) -> datetime:
    """
    A time of ISO 8601, or how long ago, such as `90m`; the epoch at the earliest.

    A number without a unit is never a duration: it may be a date, or Unix seconds that were meant as a time.
    Raises ValueError.
    """
    try:
        ago = parse_duration(text) if text.strip()[-1:].isalpha() else None
    except ValueError:
        ago = None
    if isinstance(ago, timedelta):
        return now - min(ago, now - EPOCH)
    try:
        return time_of(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither a time such as 2026-11-24T10:00 nor how long ago, such as 2h") from error
