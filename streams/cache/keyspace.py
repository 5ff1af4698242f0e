"""The part of Redis that is ours: every key and pattern gets the prefix, so that nothing else can be touched."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.errors import Transient, TransientReason

_BATCH: Final = 2500  # keys in one UNLINK: the server serves no other client meanwhile
_SCAN: Final = 5000  # keys looked at in one SCAN, likewise
_START: Final = 0  # the cursor of SCAN, at both ends of a walk

_GLOB: Final = re.compile(r"([\\*?\[\]])")


class Keyspace:
    """
    Removes keys below a prefix, and counts them.

    Raises Transient `redis_unavailable` for every refusal of Redis: these commands are right for any key, so the server or its
    permissions have to change. A walk that was interrupted starts anew, and counts what it finds then.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._literal = _GLOB.sub(r"\\\1", prefix)

    async def remove(self, keys: Sequence[str]) -> int:
        """Remove exact keys; returns how many of them there were."""
        removed = 0
        for start in range(0, len(keys), _BATCH):  # a command may have a hundred thousand of them, and the prefix may be long
            removed += await self._unlink([f"{self._prefix}{key}".encode() for key in keys[start : start + _BATCH]])
        return removed

    async def remove_matching(self, pattern: str) -> int:
        """
        Remove every key that matches the glob pattern and exists throughout; returns how many there were.

        Redis looks for the next keys while it removes the last ones. SCAN may show a key twice; UNLINK counts it once.
        """
        match = f"{self._literal}{pattern}".encode()
        removed = 0
        cursor, found = await self._find(_START, match)
        while cursor != _START:
            unlinking = asyncio.create_task(self._unlink(found))
            try:
                cursor, found = await self._find(cursor, match)
            finally:
                removed += await unlinking
        return removed + await self._unlink(found)

    async def _find(self, cursor: int, match: bytes) -> tuple[int, list[bytes]]:
        with _refusals_as_transient():
            answer: tuple[int, list[Any]] = await self._client.scan(cursor, match=match, count=_SCAN)
        return answer

    async def _unlink(self, names: Sequence[bytes]) -> int:
        removed = 0
        with _refusals_as_transient():
            for start in range(0, len(names), _BATCH):
                removed += await self._client.unlink(*names[start : start + _BATCH])
        return removed


@contextmanager
def _refusals_as_transient() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise Transient(TransientReason.REDIS_UNAVAILABLE, f"{type(error).__name__}: {error}") from error
