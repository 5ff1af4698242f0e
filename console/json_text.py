"""
Indents JSON without changing its tokens: pure functions.

A body is evidence, and its signature covers its bytes. Decoding and encoding it again would round long numbers, and hide
duplicate names.
"""

import re
from collections.abc import Iterator
from typing import Final

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_OPENED_BY: Final = {"}": "{", "]": "["}
_DEEPEST: Final = 32
"""The number of levels that are indented; at deeper ones there would be more spaces than text."""


def indented(text: str) -> str:
    """Return valid JSON with one line for each value; the values are unchanged."""
    return "".join(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    depth, last = 0, ""
    for match in _TOKEN.finditer(text):
        part = match[0]
        if part in _OPENED_BY:
            depth -= 1
            if last != _OPENED_BY[part]:
                yield _line(depth)
        elif last in {"{", "[", ","}:
            yield _line(depth)
        yield ": " if part == ":" else part
        depth += part in {"{", "["}
        last = part


def _line(depth: int) -> str:
    return "\n" + "  " * min(depth, _DEEPEST)
