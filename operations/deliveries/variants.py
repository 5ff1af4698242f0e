"""Bytes that a sender may have used as a key or signed by mistake, each with the mistake that explains them."""

from typing import NamedTuple


class Variant(NamedTuple):
    """The bytes, the stable word for the mistake, and the mistake in words."""

    value: bytes
    cause: str
    detail: str
