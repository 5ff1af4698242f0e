"""Bytes that may have been used or signed where others were meant, each with what happened to them on the way."""

from typing import NamedTuple


class Variant(NamedTuple):
    """Bytes, the stable word for what happened to them, and the same in words."""

    value: bytes
    cause: str
    detail: str
