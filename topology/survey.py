"""The current topology: one request to the broker at a time, shared by all callers that wait for it."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from outbox.errors import BrokerError
from outbox.offsets import Look, Offsets
from schemas.topics import TOPICS
from schemas.topology import workers
from topology.view import Kafka, Topology, declared, joined

_FRESH: Final = 1.0
"""Seconds for which an answer is reused, so that many viewers cost Kafka no more than one."""

_UNSET: Final = "KAFKA_BOOTSTRAP_SERVERS is not set here"


def look_at(offsets: Offsets) -> Look:
    """The offsets of all topics and the groups of all workers. Blocks; raises BrokerError."""
    return offsets.look([*TOPICS], [agent.group for agent in workers() if agent.group])


def take(offsets: Offsets | None) -> Topology:
    """The current topology, or the declared one with the reason if Kafka does not answer or is not configured. Blocks."""
    if offsets is None:
        return declared(datetime.now(UTC), Kafka(live=False, reason="kafka_unavailable", detail=_UNSET))
    try:
        return joined(look_at(offsets), datetime.now(UTC), offsets.kafka.prefix or None)
    except BrokerError as error:
        return declared(datetime.now(UTC), Kafka(live=False, reason=error.reason, detail=str(error)))


class Survey:
    """The current topology for many viewers."""

    def __init__(self, offsets: Offsets | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._offsets = offsets
        self._clock = clock
        self._lock = asyncio.Lock()
        self._taken: Topology | None = None
        self._at = 0.0

    async def now(self) -> Topology:
        """The topology, at most one second old."""
        async with self._lock:
            if self._taken is None or self._clock() - self._at >= _FRESH:
                self._taken = await asyncio.to_thread(take, self._offsets)
                self._at = self._clock()
            return self._taken
