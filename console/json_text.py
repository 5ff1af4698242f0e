"""
JSON with its lines set, and nothing of it written anew: pure functions.

A body is evidence, and its signature covers its bytes. Parsing and writing it again would round long numbers, and hide names that
stand twice.
"""

import re
from collections.abc import Iterator
from typing import Final

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_OPENED_BY: Final = {"}": "{", "]": "["}
_DEEPEST: Final = 32
"""Levels that are set further to the right; deeper ones would be more blanks than text."""


def indented(text: str) -> str:
    """Return valid JSON with a line for each of its values, which stand as they came."""
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
