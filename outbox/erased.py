"""
The marker that replaces an erased payload: its SHA-256, its length, and the id of the erasure.

The marker is JSON, as every payload is. No event begins like it, so it is recognised without parsing.
"""

from typing import Final, LiteralString

_BEGINS: Final = b'{"erased":{"sha256":"'

ERASED: Final = "erased"
"""The reason of every refusal that is due to an erased payload."""


def marker(column: LiteralString, erasure: LiteralString = "%(erasure)s") -> LiteralString:
    """Return the SQL of the marker for the bytes of a column."""
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
    """Return the SQL condition that the bytes of a column are a marker; it is null where the column is null."""
    return "starts_with(encode(substr(" + column + ', 1, 21), \'escape\'), \'{"erased":{"sha256":"\')'


def is_erased(data: bytes) -> bool:
    """Report whether a payload is a marker."""
    return data.startswith(_BEGINS)
