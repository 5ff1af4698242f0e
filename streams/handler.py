"""A worker as the processor sees it: a name, and a function from a batch of events to effects in one transaction."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from psycopg import AsyncConnection

from schemas.envelope import Event


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
    A handler that reaches beyond the database, and so must not do twice what it did before.

    `restore` gets events of a range that this consumer has read before, and whose marks are lost; their `replay_id` is the offset
    replay's. It brings back what the database held, and sends, calls and orders nothing. Without it, `handle` gets them.
    """

    async def restore(self, connection: AsyncConnection, events: Sequence[Event]) -> None: ...
