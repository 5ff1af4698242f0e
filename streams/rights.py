"""
The rights that a worker's role has on its topics and on its group.

A right that is missing, or is taken away, is waited for: Faust would end the process, and aiokafka would wait in silence. What
refuses it tells `suspect`; then the brokers are asked what is missing, until nothing is.
"""

import asyncio
from collections.abc import Iterator, Sequence
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


class Rights(Service):
    """The rights of one role; `missing` says in words which are not granted, and is empty while all are."""

    def __init__(self, app: "App", topics: Sequence[str], retry: float) -> None:
        super().__init__()
        self.missing = ""
        self.retry: Final = retry
        self._app = app
        self._topics = topics
        self._suspected = asyncio.Event()
        self._suspected.set()  # a topic that may not even be seen is not refused: no partition of it is given out

    @override
    async def on_start(self) -> None:
        self._here = asyncio.get_running_loop()

    def suspect(self) -> None:
        """Have the rights looked at; called in whichever thread was refused something."""
        self._here.call_soon_threadsafe(self._suspected.set)

    @Service.task
    async def _follow(self) -> None:
        self._app.work_as_role()
        while not self.should_stop:
            await self.wait(self._suspected.wait())
            self._suspected.clear()
            while not self.should_stop and (missing := await asyncio.to_thread(self._look)):
                self.missing = missing
                log.warning("worker_waiting", reason=rights.MISSING, error=missing)
                await self.sleep(self.retry)
            if self.missing and not self.should_stop:
                self.missing = ""
                with suppress(ConsumerNotStarted):
                    await self._app.consumer.see_topics()

    def _look(self) -> str:
        """Return what is missing; while the brokers do not tell it, what was."""
        try:
            return "; ".join(self._lacking())
        except (KafkaException, TimeoutError) as error:
            log.debug("rights_unknown", error=described(error))
            return self.missing

    def _lacking(self) -> Iterator[str]:
        kafka, admin = self._app.kafka, self._app.offsets.admin
        held = rights.on_topics(admin, map(kafka.named, self._topics))
        if names := rights.lacking("READ", held):
            yield rights.told("READ", "topic", names)
        if names := rights.lacking("READ", rights.on_groups(admin, [self._app.conf.id])):
            yield rights.told("READ", "group", names)
