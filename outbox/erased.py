"""
What stands in place of a payload that was erased: its SHA-256 and its length, and which erasure it was.

It is JSON, so that who reads a payload reads this; and it begins like no event, so that it is known again without parsing.
"""

from typing import Final, LiteralString

_BEGINS: Final = b'{"erased":{"sha256":"'

ERASED: Final = "erased"
"""The reason of whatever is not done with an erased payload."""


def marker(column: LiteralString, erasure: LiteralString = "%(erasure)s") -> LiteralString:
    """SQL: the marker for the bytes of a column."""
    return (
        'convert_to(format(\'{"erased":{"sha256":"%%s","bytes":%%s,"erasure":"%%s"}}\', encode(sha256('
        + column
        + "), 'hex'), length("
        + column
        + "), "
        + erasure
        + "::text), 'UTF8')"
    )


def is_marker(column: LiteralString) -> LiteralString:
    """SQL: whether the bytes of a column are a marker; null where there are none."""
    return "starts_with(encode(substr(" + column + ', 1, 21), \'escape\'), \'{"erased":{"sha256":"\')'


def is_erased(data: bytes) -> bool:
    """Whether a payload is a marker."""
    return data.startswith(_BEGINS)
