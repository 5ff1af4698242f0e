"""How bad a lag is, and how numbers are written where room is short."""

from typing import Final, Literal

Level = Literal["unknown", "none", "some", "much", "stopped"]
"""A class in the page, a style in Mermaid, a colour in the terminal."""

MUCH: Final = 1000
"""Records. A worker handles thousands a second, so below this it is seconds behind."""

_EXACT: Final = 10_000
_UNITS: Final = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))


def level_of(lag: int | None) -> Level:
    """The level of a lag; `stopped` is for whoever knows that nobody reads."""
    if lag is None:
        return "unknown"
    if lag == 0:
        return "none"
    return "some" if lag < MUCH else "much"


def short(number: int) -> str:
    """Exact up to 9,999, then `12.3k`, `4.5M`."""
    if number < _EXACT:
        return f"{number:,}"
    for size, unit in _UNITS:
        if number >= size:
            scaled = number / size
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.1f}{unit}"  # noqa: PLR2004  # three figures at most
    raise AssertionError(number)
