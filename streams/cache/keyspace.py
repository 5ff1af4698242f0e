"""The part of Redis that is ours: every key and pattern gets the prefix, so that nothing else can be touched."""

import re
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.errors import Transient

_BATCH: Final = 1000  # keys in one UNLINK: the server serves nobody else meanwhile
_SCAN: Final = 5000  # keys looked at in one SCAN, likewise
_START: Final = 0  # the cursor of SCAN, at both ends of a walk

_GLOB: Final = re.compile(r"([\\*?\[\]])")


class Keyspace:
    """
    Removes keys below a prefix, and counts them.

    Raises Transient `redis_unavailable`, whatever Redis refuses: these commands are right for any key, so it is the server, or
    what it lets us do, that has to change. A walk that was interrupted starts anew, and counts what it finds then.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._literal = _GLOB.sub(r"\\\1", prefix)

    async def remove(self, keys: Sequence[str]) -> int:
        """Remove exact keys; returns how many of them there were."""
        pipeline = self._client.pipeline(transaction=False)
        _unlink(pipeline, [f"{self._prefix}{key}".encode() for key in keys])
        return sum(await _answers(pipeline))

    async def remove_matching(self, pattern: str) -> int:
        """
        Remove every key that matches the glob pattern and is there all the while; returns how many there were.

        Each round trip removes what the one before has found. SCAN may show a key twice; UNLINK counts it once.
        """
        match = f"{self._literal}{pattern}".encode()
        removed, cursor, found = await self._step([], _START, match)
        while cursor != _START:
            count, cursor, found = await self._step(found, cursor, match)
            removed += count
        pipeline = self._client.pipeline(transaction=False)
        _unlink(pipeline, found)
        last: list[int] = await _answers(pipeline)
        return removed + sum(last)

    async def _step(self, found: Sequence[bytes], cursor: int, match: bytes) -> tuple[int, int, list[bytes]]:
        pipeline = self._client.pipeline(transaction=False)
        _unlink(pipeline, found)
        pipeline.scan(cursor, match=match, count=_SCAN)
        *counts, (cursor, found) = await _answers(pipeline)
        return sum(counts), cursor, list(found)


def _unlink(pipeline: Any, names: Sequence[bytes]) -> None:
    for start in range(0, len(names), _BATCH):
        pipeline.unlink(*names[start : start + _BATCH])


async def _answers(pipeline: Any) -> list[Any]:
    try:
        return list(await pipeline.execute())
    except RedisError as error:
        raise Transient("redis_unavailable", f"{type(error).__name__}: {error}") from error
