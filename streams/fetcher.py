"""The names of aiokafka's fetcher that are overridden: how long it polls, how much it hands over, and what Kafka refuses."""

import asyncio
from contextlib import suppress
from typing import Any, Final

import structlog
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from faust.transport.consumer import RecordMap

from runtime.excerpts import described
from streams.agents import Most, size_of
from streams.rights import Rights

log = structlog.get_logger()

# Milliseconds. What comes ends a poll at once; but a partition that is given out while one is under way is read after it.
_POLL_AT_REST: Final = 2000
_POLL_BESIDE: Final = 20  # milliseconds
_LOOK_AGAIN: Final = 0.2  # seconds
_STEP: Final = 25
"""Records that are taken of what was fetched before their bytes are counted."""


class Fetcher(fetcher.Fetcher):  # type: ignore[misc]  # aiokafka has no types
    """
    aiokafka's fetcher, whose polls are long only while nothing that it has fetched waits to be taken.

    It has one poll under way for each broker, without the partitions of which something waits. Were such a poll long, nothing
    would be fetched for those meanwhile: with Faust's 1.5 s a worker with a backlog starved for half a second at a time, and
    handled 3,200 instead of 5,900 events a second. It hands over as many bytes as a batch may have.
    """

    most: Most
    rights: Rights

    async def fetched_records(self, partitions: Any, timeout: float = 0, max_records: int = 0) -> RecordMap:  # noqa: ASYNC109  # aiokafka's
        """
        Take records in small steps, until they are a batch: what Kafka keeps compressed is a hundred times as large here.

        An error behind what is taken already waits for the next call, where it comes again.
        """
        try:
            found: RecordMap = await super().fetched_records(partitions, timeout, min(_STEP, max_records))
        except TopicAuthorizationFailedError as error:
            self._leave_alone(error)
            return {}
        taken = dict(found)
        while found and (left := max_records - sum(map(len, taken.values()))) > 0:
            if sum(map(size_of, taken.values())) >= self.most.size:
                break
            try:
                found = await super().fetched_records(partitions, 0, min(_STEP, left))
            except Exception as error:  # noqa: BLE001  # aiokafka's, Kafka's, or a record that cannot be read
                log.debug("fetch_ended_early", error=described(error))
                break
            for place, records in found.items():
                taken[place] = [*taken.get(place, ()), *records]
        return taken

    async def close(self) -> None:
        """
        End the polls.

        aiokafka passes the cancellation of a poll on to its caller where the poll has not begun, or waits after an error: the
        consumer then leaves its connections open, and its thread ends without a word to Faust, which waits for it.
        """
        self._fetch_task.cancel()
        await asyncio.gather(self._fetch_task, return_exceptions=True)
        for poll in self._pending_tasks:
            poll.cancel()
        await asyncio.gather(*self._pending_tasks, return_exceptions=True)
        self._pending_tasks.clear()
        with suppress(KafkaError):  # that of a fetch which had failed before
            await super().close()

    def _leave_alone(self, error: TopicAuthorizationFailedError) -> None:
        """Fetch nothing of a topic for a while, since Kafka refuses it; Faust would end the process."""
        self.rights.suspect(error)
        refused = [place for place in self._subscriptions.assigned_partitions() if place.topic == error.args[0]]
        for place in refused:
            self._subscriptions.pause(place)
            self._records.pop(place, None)  # the same refusal, since it comes for all of them at once

        def resume() -> None:
            for place in refused:
                if self._subscriptions.is_assigned(place):
                    self._subscriptions.resume(place)

        asyncio.get_running_loop().call_later(self.rights.retry, resume)

    @property
    def _fetch_max_wait_ms(self) -> int:
        return _POLL_BESIDE if self._records else _POLL_AT_REST

    @_fetch_max_wait_ms.setter
    def _fetch_max_wait_ms(self, _: int) -> None: ...

    @property
    def _fetcher_timeout(self) -> float:
        """Seconds until it looks for new positions again; the end of a poll wakes it before."""
        return _POLL_AT_REST / 1000 if self._pending_tasks else _LOOK_AGAIN
