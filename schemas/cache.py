"""Commands to the cache worker."""

import msgspec


class InvalidateCache(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """
    Remove keys from the cache.

    The worker puts the configured prefix before each key and pattern. Readers ignore unknown fields.
    """

    keys: list[str] = []  #: Exact keys, without the configured prefix.
    patterns: list[str] = []  #: Glob patterns of Redis, without the configured prefix.
