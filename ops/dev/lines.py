"""Text for a terminal of 80 columns: broken between words only, so that ids, addresses and paths can be copied whole."""

from __future__ import annotations

import textwrap
from typing import Final

WIDTH: Final = 80


def wrapped(text: str, indent: str = "") -> str:
    """Wrap each line of the text to the width; a longer word is kept whole on its own line."""
    return "\n".join(
        textwrap.fill(
            line,
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent or "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.splitlines()
    )


def beside(left: str, right: str, column: int) -> str:
    """Put a remark beside a text, or below it where the line would be too wide."""
    line = f"{left:<{column}}{right}".rstrip()
    if len(left) < column and len(line) <= WIDTH:
        return line
    return f"{left}\n{wrapped(right, ' ' * (len(left) - len(left.lstrip()) + 4))}"
