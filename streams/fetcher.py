"""
Overrides of aiokafka's fetcher: the length of its polls, the size of what it returns, refusals by Kafka, and records that cannot
be read.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import dropwhile
from struct import unpack_from
from typing import Any, Final

import structlog
from aiokafka import ConsumerRecord
from aiokafka.consumer import fetcher
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    NoError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.consumer import RecordMap
from faust.types import TP

from runtime.excerpts import described
from streams.agents import BatchLimits, size_of
from streams.records import OddHeaders
from streams.rights import Rights
from streams.unreadable import Unreadable

log = structlog.get_logger()

# Milliseconds. Arriving records end a poll at once, but a partition that is assigned during a poll is read only after it.
_POLL_AT_REST: Final = 2000
_POLL_WITH_BACKLOG: Final = 20  # milliseconds
_LOOK_AGAIN: Final = 0.2  # seconds
_STEP: Final = 25
"""Records that are taken from a fetch before their bytes are counted."""
_HANDLED: Final = {
    error.errno
    for error in (
        NoError,
        OffsetOutOfRangeError,
        UnknownTopicOrPartitionError,
        NotLeaderForPartitionError,
        TopicAuthorizationFailedError,
    )
}
"""Error codes of a partition that aiokafka handles; after any other it requests the same again at once, for ever."""
_OVERHEAD: Final = 12
"""Bytes at the beginning of a batch that its length does not count."""
_LEAST: Final = 61
"""Bytes of a batch without records."""
_MAGIC_AT: Final = 16
_WITH_HEADERS: Final = 2
"""The format of batches since Kafka 0.11."""


class OddName(str):
    """A header's name that is not UTF-8, with such bytes as escapes."""

    __slots__ = ()


class _Lenient(bytearray):
    """The bytes of records, of which aiokafka decodes nothing but the names of headers."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return _Lenient(found) if isinstance(found, bytearray) else found

    def decode(self, *_: Any) -> str:
        try:
            return super().decode()
        except UnicodeDecodeError:
            return OddName(super().decode(errors="backslashreplace"))


class _Batch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's batch of records in Python, whose headers may have any name."""

    _buffer: bytearray

    def __iter__(self) -> Any:
        found = super().__iter__()
        self._buffer = _Lenient(self._buffer)
        return found


class _Batches:
    """The batches that aiokafka's PartitionRecords reads: those from the first that is corrupt or ends beyond the offset."""

    def __init__(self, fetched: bytes, offset: int) -> None:
        # The offsets in a corrupt batch cannot be trusted: skipping it by them could skip its records.
        self._left = dropwhile(lambda batch: batch.validate_crc() and batch.next_offset <= offset, _batches_in(fetched))
        self._next: Any = None

    def has_next(self) -> bool:
        """Return true while there is another batch. Raises CorruptRecordException."""
        self._next = next(self._left, None)
        return self._next is not None

    def next_batch(self) -> Any:
        """Return the batch that `has_next` has found."""
        return self._next


def _batches_in(fetched: bytes) -> Iterator[Any]:
    """Yield the batches of a fetch; a last one that is cut off comes with the next fetch. Raises CorruptRecordException."""
    at = 0
    while at + _OVERHEAD <= len(fetched):
        [length] = unpack_from(">i", fetched, at + 8)
        end = at + _OVERHEAD + length
        if end > len(fetched):
            return
        batch = fetched[at:end]
        if length < 0 or len(batch) <= _MAGIC_AT:
            raise CorruptRecordException(f"a batch claims to have {length} bytes")
        if batch[_MAGIC_AT] < _WITH_HEADERS:
            yield MemoryRecords(batch).next_batch()
        elif len(batch) < _LEAST:
            raise CorruptRecordException(f"a batch claims to have {length} bytes")
        else:
            yield _Batch(batch)
        at = end


class Fetcher(fetcher.Fetcher):  # type: ignore[misc]  # aiokafka has no types
    """
    aiokafka's fetcher, whose polls are long only while none of the fetched records waits to be taken.

    It has one poll under way for each broker, which leaves out the partitions with fetched records. If that poll were long,
    nothing would be fetched for those partitions meanwhile: with Faust's 1.5 s a worker with a backlog starved for half a second
    at a time, and handled 3,200 instead of 5,900 events a second. It returns as many bytes as a batch may have.

    aiokafka raises if it cannot read a record of any partition, and Faust then ends the process, again after every start. Here
    headers with odd names are read in another way, and anything else that cannot be read makes only its own partition wait.
    """

    limits: BatchLimits
    rights: Rights
    unreadable: Unreadable

    async def fetched_records(self, partitions: Any, timeout: float = 0, max_records: int = 0) -> RecordMap:  # noqa: ASYNC109  # aiokafka's
        """
        Take records in small steps, until they are a batch: compressed records may become a hundred times as large.

        An error that comes after some records were taken is ignored: the next call raises it again.
        """
        found = await self._take(partitions, timeout, min(_STEP, max_records))
        taken = dict(found)
        while found and (left := max_records - sum(map(len, taken.values()))) > 0:
            if sum(map(size_of, taken.values())) >= self.limits.size:
                break
            try:
                found = await self._take(partitions, 0, min(_STEP, left))
            except Exception as error:  # noqa: BLE001  # aiokafka's, or Kafka's
                log.debug("fetch_ended_early", error=described(error))
                break
            for place, records in found.items():
                taken[place] = [*taken.get(place, ()), *records]
        self.unreadable.forget_read(taken)
        return taken

    async def _take(self, partitions: Any, timeout: float, most: int) -> RecordMap:  # noqa: ASYNC109  # aiokafka's
        try:
            found: RecordMap = await super().fetched_records(partitions, timeout, most)
        except TopicAuthorizationFailedError as error:
            self._pause_refused(error)
            return {}
        except RecordTooLargeError as error:  # its length is wrong: Kafka always returns one batch whole
            _, place, offset, *_ = error.args
            if self._subscriptions.is_assigned(place):
                self._subscriptions.seek(place, offset)  # aiokafka has skipped it
                self._wait_at(place, offset, error)
            return {}
        return found

    async def _proc_fetch_request(self, assignment: Any, node_id: Any, request: Any) -> bool:
        """Fetch once from one broker; what aiokafka cannot read of the response is read in our own way."""
        came: bool = await super()._proc_fetch_request(assignment, node_id, request)
        for place, code, end, batches in self._client.take_fetched():
            result, state = self._records.get(place), assignment.state_value(place)
            if isinstance(result, fetcher.FetchResult):
                found = result._partition_records  # noqa: SLF001  # it has no public hook
                found._records_iterator = self._read(place, found, found._records_iterator, batches)  # noqa: SLF001  # likewise
            elif not assignment.active or not state.has_valid_position:
                continue
            elif code not in _HANDLED:
                self._refuse(place, state.position, code)
            elif not code and not batches and end <= state.position:  # nothing is left there: it may have been deleted
                self.unreadable.forget(place)
        return came

    def _read(self, place: TP, found: Any, records: Iterable[ConsumerRecord], fetched: bytes) -> Iterator[ConsumerRecord]:
        """Yield the records of a fetch; from the first that aiokafka cannot read, as our own classes read them."""
        try:
            yield from records
        except Exception as error:  # noqa: BLE001  # whatever it raises, the bytes are at fault
            failed = error
        else:
            return
        at = found.next_fetch_offset
        try:
            found._records = _Batches(fetched, at)  # noqa: SLF001  # it has no public hook
            for record in found._unpack_records():  # noqa: SLF001  # likewise
                is_odd = any(isinstance(name, OddName) for name, _ in record.headers)
                yield replace(record, headers=OddHeaders(record.headers)) if is_odd else record
        except Exception as error:  # noqa: BLE001  # likewise
            failed, at = error, found.next_fetch_offset
        if found.next_fetch_offset == at:
            self._wait_at(place, at, failed)

    def _refuse(self, place: TP, offset: int, code: int) -> None:
        error = for_code(code)(f"Kafka answers with error code {code}")
        if error.invalid_metadata:
            self._client.force_metadata_update()
        self._wait_at(place, offset, error)

    def _wait_at(self, place: TP, offset: int, error: Exception) -> None:
        """
        Pause a partition for a while, since its next records cannot be read.

        During a rebalance this is not noted: the notes are cleared already, and another process may get the partition.
        """
        if not self._subscriptions.reassignment_in_progress:
            self.unreadable.note(place, offset, error)
        self._pause([place])

    async def close(self) -> None:
        """
        End the polls.

        aiokafka passes the cancellation of a poll on to its caller if the poll has not begun, or waits after an error. The
        consumer then leaves its connections open, and its thread ends without notifying Faust, which waits for it.
        """
        for timer in self._timers.values():
            timer.cancel()
        self._fetch_task.cancel()
        await asyncio.gather(self._fetch_task, return_exceptions=True)
        for poll in self._pending_tasks:
            poll.cancel()
        await asyncio.gather(*self._pending_tasks, return_exceptions=True)
        self._pending_tasks.clear()
        with suppress(KafkaError):  # the error of a fetch that failed before
            await super().close()

    def _pause_refused(self, error: TopicAuthorizationFailedError) -> None:
        """Pause the partitions of a topic that Kafka refuses, for a while; Faust would end the process."""
        self.rights.suspect(error)
        refused = [place for place in self._subscriptions.assigned_partitions() if place.topic == error.args[0]]
        for place in refused:
            self._records.pop(place, None)  # the same refusal: Kafka sends it for all partitions of the topic
        self._pause(refused)

    @cached_property
    def _timers(self) -> dict[TP, asyncio.TimerHandle]:
        """The timers that end the pauses, by partition; no `__init__` makes them, since aiokafka makes the fetcher."""
        return {}

    def _pause(self, places: Collection[TP]) -> None:
        """Pause partitions for a while from now on; a pause that was under way is replaced."""
        for place in places:
            self._subscriptions.pause(place)
            if timer := self._timers.get(place):
                timer.cancel()
            assignment = self._subscriptions.subscription.assignment
            self._timers[place] = asyncio.get_running_loop().call_later(self.rights.retry, self._resume, assignment, place)

    def _resume(self, assignment: Any, place: TP) -> None:
        del self._timers[place]
        if assignment.active:  # otherwise the pause has ended with the assignment
            assignment.state_value(place).resume()

    @property
    def _fetch_max_wait_ms(self) -> int:
        return _POLL_WITH_BACKLOG if self._records else _POLL_AT_REST

    @_fetch_max_wait_ms.setter
    def _fetch_max_wait_ms(self, _: int) -> None: ...

    @property
    def _fetcher_timeout(self) -> float:
        """Seconds until it looks for new positions again; the end of a poll wakes it before."""
        return _POLL_AT_REST / 1000 if self._pending_tasks else _LOOK_AGAIN
