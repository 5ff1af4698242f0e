"""
Pages of lists whose rows may be large: bounded in rows and in bytes.

A query that finds a page gives one row more than the page has, where there is one, and with each row the bytes of all rows up to
it; it ends with the row that is too much, and has the second row in any case.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

Row = TypeVar("Row")

PAGE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the columns that may be large, in one page; a row that is larger comes alone."""


def cut(found: Sequence[tuple[Row, int]], limit: int) -> tuple[list[Row], bool]:
    """The rows of the page, and whether there is more."""
    fitting = sum(total <= PAGE_BYTES for _, total in found)
    kept = min(limit, max(1, fitting))
    return [row for row, _ in found[:kept]], len(found) > kept
