"""
The connections of one listener: how long the gateway waits for each client, and which are closed when there are too many.

Anyone can open many connections and send nothing. This must not take the place of other clients. So, to make room, the
gateway closes only connections on which the client has to act: of the client with the most of them, the one that has waited
longest for its client.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

import structlog

from gateway import metrics
from gateway.errors import GatewayError, Reason

log = structlog.get_logger()

_BATCH: Final = 16  # the limit divided by this is the number closed at once, since the choice has to read every connection
_QUIET: Final = 10.0  # seconds between two log lines about closed connections
_WIRE: Final = 8  # one request may take this many times the largest body on the wire, with its head and its chunks


class Limits(NamedTuple):
    """The bounds of a listener: its number of connections, and the seconds that it waits for a client in each phase."""

    connections: int = 1000
    head: float = 10.0
    body: float = 20.0
    answer: float = 30.0
    idle: float = 75.0

    @property
    def check_interval(self) -> float:
        """Seconds between two checks for late clients."""
        return min(1.0, min(self[1:]) / 4)


class Phase(IntEnum):
    """The stages of a connection at which the client has to act."""

    HANDSHAKE = 0
    IDLE = 1  # no byte of a request has arrived
    HEAD = 2
    REQUEST = 3  # its head has arrived; its body perhaps not


class Payload(Protocol):
    """The part of a body's interface that reports whether the body is complete, and makes its reader fail."""

    def is_eof(self) -> bool: ...
    def set_exception(self, exc: BaseException) -> None: ...


class Handshake(Protocol):
    """A connection before it has a transport."""

    def cancel(self) -> object: ...


class Line(Protocol):
    """The part of a transport's interface that ends a connection."""

    def abort(self) -> None: ...
    def is_closing(self) -> bool: ...


class Guest:
    """One accepted connection."""

    __slots__ = ("began", "client", "ending", "held", "line", "payload", "phase", "refused", "served", "stuck", "task")

    def __init__(self, client: str, now: float) -> None:
        self.client = client
        self.phase = Phase.HANDSHAKE
        self.began = now
        """The time at which the phase began."""
        self.served = False
        self.payload: Payload | None = None
        self.held = 0
        """Bytes received of requests that are not answered yet."""
        self.stuck: float | None = None
        """The time since which the client has not read the data that waits for it."""
        self.ending: float | None = None
        """The time since which the connection has been closing; it closes once its last bytes are sent."""
        self.refused: float | None = None
        """The time at which its body was refused."""
        self.line: Line | None = None
        self.task: Handshake | None = None

    @property
    def half_read(self) -> bool:
        """True if a part of a request has arrived, and the rest has not."""
        if self.phase is Phase.REQUEST:
            return self.refused is None and self.payload is not None and not self.payload.is_eof()
        return self.phase is Phase.HEAD

    @property
    def waited_for(self) -> bool:
        """True if the client has to act; otherwise the gateway is handling a request."""
        return self.phase is not Phase.REQUEST or self.stuck is not None or self.half_read

    def overdue(self, now: float, limits: Limits) -> str | None:
        """The stage for which the client has taken too long; None if it is in time."""
        given_up = [since for since in (self.stuck, self.ending, self.refused) if since is not None]
        if given_up:
            return "answer" if now - min(given_up) > limits.answer else None
        waited = now - self.began
        match self.phase:
            case Phase.HANDSHAKE:
                return "handshake" if waited > limits.head else None
            case Phase.IDLE if self.served:
                return "idle" if waited > limits.idle else None
            case Phase.REQUEST:
                return "body" if waited > limits.body and self.half_read else None
            case _:
                return "head" if waited > limits.head else None

    def refuse(self, error: GatewayError, now: float) -> None:
        """Make the handler that reads the body fail with the error; without such a handler, close the connection."""
        self.refused = now
        if self.payload is not None and self.phase is Phase.REQUEST:
            self.payload.set_exception(error)
        else:
            self.end()

    def end(self) -> None:
        """Close the connection, without waiting for the client to read the rest."""
        if self.line is not None:
            self.line.abort()
        elif self.task is not None:
            self.task.cancel()


def choose_to_close(guests: Iterable[Guest], number: int) -> list[Guest]:
    """Choose `number` connections to close: of the clients with the most of them, those that wait longest for their client."""
    turns: Counter[str] = Counter()
    ranked: list[tuple[int, float, Guest]] = []
    for guest in sorted((each for each in guests if each.waited_for), key=lambda each: -each.began):
        ranked.append((-turns[guest.client], guest.began, guest))
        turns[guest.client] += 1
    return [guest for *_, guest in sorted(ranked, key=lambda each: each[:2])[:number]]


class Memory:
    """The memory of half-read requests over all listeners; beyond the limit the oldest ones are refused."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._holders: dict[Guest, None] = {}  # in the order of their first byte

    @property
    def total(self) -> int:
        return self._total

    def take(self, guest: Guest, number: int) -> list[Guest]:
        """Count received bytes; returns the connections to refuse so that the rest fits, which are no longer counted."""
        if not guest.held:
            self._holders[guest] = None
        guest.held += number
        self._total += number
        if self._total <= self._limit:
            return []
        gone: list[Guest] = []
        for holder in [each for each in self._holders if each.half_read]:
            gone.append(holder)
            self.give_back(holder)
            if self._total <= self._limit:
                break
        return gone

    def give_back(self, guest: Guest) -> None:
        """Release the memory of a request that is answered or gone."""
        if guest.held:
            self._total -= guest.held
            guest.held = 0
            del self._holders[guest]


class Connections:
    """The connections of one listener."""

    def __init__(self, listener: str, limits: Limits, memory: Memory, *, max_body_bytes: int, now: Callable[[], float]) -> None:
        self.limits = limits
        self.now = now
        self._listener = listener
        self._memory = memory
        self._max_request_bytes = _WIRE * max_body_bytes
        self._open: set[Guest] = set()
        self._ended: Counter[str] = Counter()
        self._quiet_until = 0.0
        metrics.CONNECTIONS_OPEN.labels(listener).set_function(lambda: len(self._open))

    @property
    def full(self) -> bool:
        return len(self._open) >= self.limits.connections

    @property
    def held(self) -> int:
        """Bytes of requests under way, of all listeners that share the memory."""
        return self._memory.total

    def enter(self, client: str) -> Guest:
        """Register a new connection."""
        guest = Guest(client, self.now())
        self._open.add(guest)
        return guest

    def leave(self, guest: Guest) -> None:
        """Remove a connection that has ended."""
        self._open.discard(guest)
        self._memory.give_back(guest)

    def make_room(self) -> bool:
        """Close some connections on which the client has to act; returns False if there are none."""
        closing = choose_to_close(self._open, max(1, self.limits.connections // _BATCH))
        for guest in closing:
            self._count("displaced")
            guest.end()
        return bool(closing)

    def count_refused(self) -> None:
        """Count a connection that is refused because the listener is full."""
        self._count("refused")

    def count_received(self, guest: Guest, number: int) -> None:
        """Count bytes of a request; refuse it if it is too large, and the oldest ones if all together take too much memory."""
        for holder in self._memory.take(guest, number):
            self._count("memory")
            holder.refuse(GatewayError(Reason.GATEWAY_FULL, "too many bodies are being received"), self.now())
        if guest.held > self._max_request_bytes and guest.half_read:
            self._memory.give_back(guest)
            self._count("size")
            guest.refuse(GatewayError(Reason.BODY_TOO_LARGE, "the body takes too many bytes on the wire"), self.now())

    def answered(self, guest: Guest) -> None:
        """Record that the request of a connection has been answered."""
        self._memory.give_back(guest)
        guest.payload = None
        guest.served = True
        guest.phase = Phase.IDLE
        guest.began = self.now()

    def close_late(self) -> None:
        """Close late connections, and log how many were closed for another reason than idleness."""
        now = self.now()
        for guest in list(self._open):
            if guest.line is not None and guest.ending is None and guest.line.is_closing():
                guest.ending = now
            late = guest.overdue(now, self.limits)
            if late is None:
                continue
            self._count(late)
            if late == "body":
                guest.refuse(GatewayError(Reason.BODY_TOO_SLOW, "the body did not arrive in time"), now)
            else:
                guest.end()
        if self._ended and now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            log.warning(
                "connections_ended", reason="clients_slow_or_many", listener=self._listener, open=len(self._open), **self._ended
            )
            self._ended.clear()

    def _count(self, why: str) -> None:
        metrics.CONNECTIONS_ENDED.labels(self._listener, why).inc()
        if why != "idle":
            self._ended[why] += 1
