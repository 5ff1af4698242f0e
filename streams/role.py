"""A worker's role: its topics, its settings, how its tools are opened, and its handler as the processor sees it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

from psycopg import AsyncConnection

from runtime.database import Pool
from runtime.heartbeat import Heartbeat
from runtime.service import Opens
from schemas import topology
from schemas.envelope import Event
from streams.settings import StreamSettings


class Handler(Protocol):
    """
    A handler gives events the effects of one worker.

    `handle` gets fresh events only (none that this consumer has handled before), in record order, inside an open transaction
    that also holds their `consumed` marks; whatever it writes commits with them or not at all. It raises Poison for an event
    that can never pass and lets errors of the database through; it keeps no memory between calls.
    """

    @property
    def consumer(self) -> str: ...

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None: ...


@runtime_checkable
class RestoringHandler(Handler, Protocol):
    """
    A handler with effects outside the database, which must not happen twice.

    `restore` gets events of a range that this consumer has read before, and whose marks are lost; their `replay_id` is the offset
    replay's. It restores the rows of the database, and sends, calls and orders nothing. Without it, `handle` gets the events.
    """

    async def restore(self, connection: AsyncConnection, events: Sequence[Event]) -> None: ...


@runtime_checkable
class PatientHandler(Handler, Protocol):
    """
    A handler that waits for answers of another server, for longer in one batch than a loop may be silent.

    It calls `progressed` after each answer. So a long batch is no hang, and a server that never answers is one.
    """

    def on_progress(self, progressed: Callable[[], None]) -> None: ...


class Running(NamedTuple):
    """A running role: its handler, the services beside it, and the heartbeats of the loops that must not hang."""

    handler: Handler
    services: tuple[Opens, ...] = ()
    heartbeats: tuple[Heartbeat, ...] = ()


class Role(NamedTuple):
    """
    One kind of worker.

    `name` is that of its declaration in `schemas/topology.py` and the `consumer` of its marks. `opened(settings, pool)` opens the
    handler's tools (clients, templates) and closes them at the end; it must not fail because a server is unavailable: then the
    handler waits, not the start.
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
    """Return the role of a handler that needs no tools."""

    @asynccontextmanager
    async def opened(_: StreamSettings, __: Pool) -> AsyncIterator[Running]:
        yield Running(handler)

    return Role(handler.consumer, opened)
