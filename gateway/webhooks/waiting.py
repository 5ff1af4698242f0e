"""The list of webhooks that wait for their commit; it is bounded in number and bytes, and so is their memory."""

import asyncio
from collections import deque
from collections.abc import Iterable

from gateway.errors import GatewayError, Reason
from outbox.append import Received, Recorded


class Waiting:
    """One webhook that waits, and the future that gives its request the outcome."""

    __slots__ = ("outcome", "received")

    def __init__(self, received: Received, outcome: asyncio.Future[Recorded]) -> None:
        self.received = received
        self.outcome = outcome

    @property
    def size(self) -> int:
        return len(self.received.event.data)

    def settle(self, recorded: Recorded) -> None:
        if not self.outcome.done():  # its request may have given up
            self.outcome.set_result(recorded)

    def fail(self, error: GatewayError) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)
            self.outcome.exception()  # marks it as retrieved: its request may be gone


class WaitingList:
    """The webhooks in the order of their arrival; `number` and `size`, in bytes of bodies, are its bounds."""

    def __init__(self, number: int, size: int) -> None:
        self._number = number
        self._bound = size
        self._waiting: deque[Waiting] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._number or self._size >= self._bound

    def add(self, received: Received, outcome: asyncio.Future[Recorded]) -> None:
        waiting = Waiting(received, outcome)
        self._waiting.append(waiting)
        self._size += waiting.size

    def take(self, number: int, size: int) -> list[Waiting]:
        """Remove the oldest ones for one statement: at most `number`, and no further one once they have `size` bytes."""
        batch: list[Waiting] = []
        taken = 0
        while self._waiting and len(batch) < number and taken < size:
            waiting = self._waiting.popleft()
            self._size -= waiting.size
            if not waiting.outcome.done():
                batch.append(waiting)
                taken += waiting.size
        return batch

    def put_back(self, batch: list[Waiting]) -> None:
        """Put a batch back at the front of the list."""
        self._waiting.extendleft(reversed(batch))
        self._size += sum(waiting.size for waiting in batch)

    def fail_all(self, reason: Reason, detail: str) -> None:
        fail(self._waiting, reason, detail)
        self._waiting.clear()
        self._size = 0


def fail(waiting: Iterable[Waiting], reason: Reason, detail: str) -> None:
    """Give each of them this refusal as its outcome."""
    for each in waiting:
        each.fail(GatewayError(reason, detail))
