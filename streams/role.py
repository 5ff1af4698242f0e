"""A worker's role: its topics, its settings, and how its tools are opened."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

from runtime.database import Pool
from runtime.heartbeat import Heartbeat
from runtime.service import Opens
from schemas import topology
from streams.handler import Handler
from streams.settings import StreamSettings


class Running(NamedTuple):
    """A role at work: its handler, the services beside it, and the heartbeats of the loops that must not hang."""

    handler: Handler
    services: tuple[Opens, ...] = ()
    heartbeats: tuple[Heartbeat, ...] = ()


class Role(NamedTuple):
    """
    One kind of worker.

    `name` is that of its declaration in `schemas/topology.py` and the `consumer` of its marks. `opened(settings, pool)` opens the
    handler's tools (clients, templates) and closes them at the end; it must not fail because a peer is away: then the handler
    waits, not the start.
    """

    name: str
    opened: Callable[[Any, Pool], AbstractAsyncContextManager[Running]]
    settings: type[StreamSettings] = StreamSettings

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that it reads, as the topology declares them."""
        return topology.worker(self.name).consumes

    @property
    def group(self) -> str:
        """Its consumer group on Kafka."""
        return topology.group_of(self.name)


def role_of(handler: Handler) -> Role:
    """The role of a handler that needs no tools."""

    @asynccontextmanager
    async def opened(_: StreamSettings, __: Pool) -> AsyncIterator[Running]:
        yield Running(handler)

    return Role(handler.consumer, opened)
