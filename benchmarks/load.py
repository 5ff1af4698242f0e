"""
A cheap HTTP load: requests are replayed byte for byte over keep-alive connections; answers are parsed only to find their end.

Closed loop (`rate` None): each connection sends its next request when it has its answer. Open loop: requests are sent on a
fixed time grid, independently of the answers, so that a slow answer delays no other request.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import uvloop

from benchmarks.bodies import read_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_OK = b"HTTP/1.1 200 "
_LENGTH = b"Content-Length: "
_HEAD_END = b"\r\n\r\n"


class Plan(NamedTuple):
    """The requests to send: for at most `seconds`, and at `rate` requests a second from `start_at` on, if these are given."""

    requests: Path
    address: tuple[str, int]
    connections: int
    seconds: float | None = None
    rate: float | None = None
    start_at: float = 0.0


class Answers(NamedTuple):
    """
    The answers; times are of the machine's monotonic clock, `answered_at` is in the order of the requests.

    `late` is the largest delay of a request after its time on the grid.
    """

    acknowledged: int
    refused: int
    seconds: float
    latencies: list[float]
    answered_at: list[float]
    late: float

    @property
    def rate(self) -> float:
        return self.acknowledged / self.seconds


def send(plan: Plan) -> Answers:
    """Run the plan; returns when the last answer has arrived."""
    return uvloop.run(_Load(plan).run())


class _Connection(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self, on_free: Callable[[_Connection], None], on_answer: Callable[[int, float, bool], None]) -> None:
        self._on_free = on_free
        self._on_answer = on_answer
        self._buffer = b""
        self._number = -1
        self._sent_at = 0.0
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP has this transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(exc)

    def send(self, number: int, request: bytes) -> None:
        self._number = number
        self._sent_at = time.monotonic()
        self._transport.write(request)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(_HEAD_END)
        length_at = self._buffer.find(_LENGTH, 0, head_end)
        if head_end < 0 or length_at < 0:
            return
        length = int(self._buffer[length_at + len(_LENGTH) : self._buffer.find(b"\r", length_at)])
        if len(self._buffer) < head_end + len(_HEAD_END) + length:
            return
        acknowledged = self._buffer.startswith(_OK)
        self._buffer = b""
        self._on_answer(self._number, self._sent_at, acknowledged)
        self._on_free(self)


class _Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # Read before the clock starts, so that the disk is not measured.
        self._requests: Iterator[tuple[int, bytes]] = enumerate(list(read_requests(plan.requests)))
        self._free: deque[_Connection] = deque()
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._in_flight = 0
        self._refused = 0
        self._latencies: list[float] = []
        self._answered: dict[int, float] = {}
        self._late = 0.0

    async def run(self) -> Answers:
        loop = asyncio.get_running_loop()
        on_free = self._send_next if self._plan.rate is None else self._serve_waiting
        made = [
            (await loop.create_connection(lambda: _Connection(on_free, self._record_answer), *self._plan.address))[1]
            for _ in range(self._plan.connections)
        ]
        self._done = loop.create_future()
        started = time.monotonic()
        self._until = started + (self._plan.seconds or float("inf"))
        if self._plan.rate is None:
            for connection in made:
                self._send_next(connection)
        else:
            self._free.extend(made)
            await self._send_on_the_grid(self._plan.rate)
        lost = [connection.lost for connection in made]
        await asyncio.wait([self._done, *lost], return_when=asyncio.FIRST_COMPLETED)
        if not self._done.done():
            raise ConnectionError("the server closed a connection")
        for connection in made:
            connection.close()
        answered_at = [self._answered[number] for number in sorted(self._answered)]
        elapsed = max(answered_at) - started
        return Answers(len(self._latencies), self._refused, elapsed, self._latencies, answered_at, self._late)

    def _send_next(self, connection: _Connection) -> None:
        """Closed loop: after an answer, send the next request."""
        upcoming = next(self._requests, None) if time.monotonic() < self._until else None
        if upcoming is not None:
            self._in_flight += 1
            connection.send(*upcoming)
        elif self._in_flight == 0 and not self._done.done():
            self._done.set_result(None)

    async def _send_on_the_grid(self, rate: float) -> None:
        """Open loop: a request without a free connection waits in a queue."""
        self._all_queued = False
        for number, request in self._requests:
            due = self._plan.start_at + number / rate
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            self._late = max(self._late, time.monotonic() - due)
            self._in_flight += 1
            self._waiting.append((number, request))
            if self._free:
                self._serve_waiting(self._free.popleft())
        self._all_queued = True
        if self._in_flight == 0 and not self._done.done():
            self._done.set_result(None)

    def _serve_waiting(self, connection: _Connection) -> None:
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._free.append(connection)
            if self._in_flight == 0 and self._all_queued and not self._done.done():
                self._done.set_result(None)

    def _record_answer(self, number: int, sent_at: float, acknowledged: bool) -> None:  # noqa: FBT001  # a callback's positional flag
        now = time.monotonic()
        self._in_flight -= 1
        self._answered[number] = now
        if acknowledged:
            self._latencies.append(now - sent_at)
        else:
            self._refused += 1
