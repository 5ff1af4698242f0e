"""
The rights that a worker's role has on its topics and on its group.

A worker waits for a right that is missing or was revoked: Faust alone would end the process, and aiokafka would wait without a
log line. The code that Kafka refuses calls `suspect`; then the brokers are queried for missing rights, until none is missing.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog
from confluent_kafka import KafkaException
from faust.exceptions import ConsumerNotStarted
from mode import Service
from typing_extensions import override

from outbox import rights
from runtime.excerpts import described

if TYPE_CHECKING:
    from streams.transport import App

log = structlog.get_logger()

_LOGGERS: Final = ("aiokafka.cluster", "aiokafka.consumer.fetcher", "aiokafka.consumer.group_coordinator")


def _is_no_refusal(record: logging.LogRecord) -> bool:
    """Drop aiokafka's line about a refusal for each partition and attempt: ours names the right, once an attempt."""
    return "uthoriz" not in record.getMessage()


class Rights(Service):
    """The rights of one role; `missing` lists in words those that are not granted, and is empty while all are."""

    def __init__(self, app: "App", topics: Sequence[str], retry: float) -> None:
        super().__init__()
        self.missing = ""
        self.retry: Final = retry
        self._app = app
        self._topics = topics
        self._suspected = asyncio.Event()
        self._refused: BaseException | None = None
        self._suspected.set()  # a topic that is invisible to the role is never refused: it has no partitions to assign

    @override
    async def on_start(self) -> None:
        self._own_loop = asyncio.get_running_loop()
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_is_no_refusal)

    def suspect(self, refused: BaseException) -> None:
        """Have the rights checked; may be called in any thread."""
        self._refused = refused
        self._own_loop.call_soon_threadsafe(self._suspected.set)

    @Service.task
    async def _follow(self) -> None:
        self._app.work_as_role()
        while not self.should_stop:
            await self.wait(self._suspected.wait())
            self._suspected.clear()
            await self._until_granted()
            if self._refused and not self.missing:
                log.warning("worker_waiting", reason="kafka_refused", error=described(self._refused))
            self._refused = None
            if self.missing and not self.should_stop:
                self.missing = ""
                with suppress(ConsumerNotStarted):
                    await self._app.consumer.refresh_topics()

    async def _until_granted(self) -> None:
        while not self.should_stop:
            missing, is_all = await asyncio.to_thread(self._query)
            if is_all and not missing:
                return
            if missing:
                self.missing = "; ".join(missing)
                log.warning("worker_waiting", reason=rights.MISSING, error=self.missing)
            await self.sleep(self.retry)

    def _query(self) -> tuple[list[str], bool]:
        """Return the missing rights, and true if every query was answered: the group's coordinator may not answer."""
        kafka, admin = self._app.kafka, self._app.offsets.admin
        queries: dict[str, Callable[[], rights.Granted]] = {
            "topic": lambda: rights.on_topics(admin, map(kafka.named, self._topics)),
            "group": lambda: rights.on_groups(admin, [self._app.conf.id]),
        }
        found: list[str] = []
        is_all = True
        for kind, query in queries.items():
            try:
                names = rights.lacking("READ", query())
            except (KafkaException, TimeoutError) as error:
                log.debug("rights_unknown", error=described(error))
                is_all = False
            else:
                found += [rights.describe_missing("READ", kind, names)] if names else []
        return found, is_all
