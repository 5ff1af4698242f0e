"""The commands to the cache worker."""

import msgspec


class InvalidateCache(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """
    Remove these keys, and all that match these glob patterns.

    Neither has the prefix of the cache yet: the worker puts it before each. Unknown fields are ignored.
    """

    keys: list[str] = []
    patterns: list[str] = []
