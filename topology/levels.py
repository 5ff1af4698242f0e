"""Levels of a lag, and short forms of numbers."""

from typing import Final, Literal

Level = Literal["unknown", "none", "some", "much", "stopped"]
"""A class in the page, a style in Mermaid, a colour in the terminal."""

MUCH: Final = 1000
"""In records. A worker handles thousands per second, so it is less than a second behind below this."""

_EXACT: Final = 10_000
_UNITS: Final = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))


def level_of(lag: int | None) -> Level:
    """The level of a lag; the caller uses `stopped` if no process reads."""
    if lag is None:
        return "unknown"
    if lag == 0:
        return "none"
    return "some" if lag < MUCH else "much"


def short(number: int) -> str:
    """The number in short: exact up to 9,999, then as `12.3k` or `4.5M`."""
    if number < _EXACT:
        return f"{number:,}"
    for size, unit in _UNITS:
        if number >= size:
            scaled = number / size
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.1f}{unit}"  # noqa: PLR2004  # three figures at most
    raise AssertionError(number)
