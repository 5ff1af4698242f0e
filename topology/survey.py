"""The current topology: one request to the broker at a time, shared by all callers that wait for it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from outbox.errors import BrokerError
from outbox.offsets import BrokerState, Offsets
from schemas.topics import TOPICS
from schemas.topology import workers
from topology.view import Kafka, Topology, declared, joined

_FRESH: Final = 1.0
"""Seconds for which an answer is reused, so that many viewers cost Kafka no more than one."""

SAMPLED: Final = timedelta(seconds=5)
"""The least time between two samples of the lag."""
_SAMPLES: Final = 180
"""The samples that are kept, a quarter of an hour of them."""
_UNSET: Final = "KAFKA_BOOTSTRAP_SERVERS is not set here"


def look_at(offsets: Offsets) -> BrokerState:
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


class Sample(NamedTuple):
    """The lag of each worker at a time; empty while Kafka did not answer."""

    at: datetime
    lags: Mapping[str, int]


class Survey:
    """The current topology for many viewers, and the lag over the time in which there were any."""

    def __init__(self, offsets: Offsets | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._offsets = offsets
        self._clock = clock
        self._lock = asyncio.Lock()
        self._taken: Topology | None = None
        self._at = 0.0
        self._samples: deque[Sample] = deque(maxlen=_SAMPLES)

    @property
    def samples(self) -> Sequence[Sample]:
        """The lag of the last minutes, oldest first; without viewers Kafka is not queried, so there is a gap."""
        return [*self._samples]

    async def now(self) -> Topology:
        """The topology, at most one second old."""
        async with self._lock:
            if self._taken is None or self._clock() - self._at >= _FRESH:
                self._taken = await asyncio.to_thread(take, self._offsets)
                self._at = self._clock()
                self.keep(self._taken, self._taken.taken_at)
            return self._taken

    def keep(self, taken: Topology, at: datetime) -> None:
        """Keep the lag as a sample, unless the last sample is recent enough."""
        if not self._samples or at - self._samples[-1].at >= SAMPLED:
            lags = {each.name: each.group.lag for each in taken.agents if each.group and each.group.lag is not None}
            self._samples.append(Sample(at, lags))
