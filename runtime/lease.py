"""
Locks that a process holds only while its session with the server is certainly alive.

The locks belong to a separate session, which a separate thread keeps alive while the loop that works under them runs. So a long
statement or a busy interpreter does not lose them, and a loop that hangs loses them as a stopped process does.
"""

import contextlib
import os
import select
import socket
import threading
from datetime import timedelta
from typing import Final, Self

import psycopg
import structlog
from prometheus_client import Counter
from psycopg import Connection, OperationalError

from runtime.errors import Failure, Reason
from runtime.heartbeat import Heartbeat, now
from runtime.sessions import KEEPALIVES, connect

log = structlog.get_logger()

LOST: Final = Counter("tallyhook_lease_lost_total", "Times that a process lost the locks under which it worked.", ["holder"])

_SAFE_PART: Final = 0.9
"""The part of the lease for which the server keeps the session, even if its clock is a little faster than ours."""


_LONGEST_ROUND: Final = 1.2
"""The longest round of the loop, in leases: a statement ends within one, and the rest of the round takes a little time too."""
_CLOSE_LIMIT: Final = 1.0  # seconds


class LeaseLost(Failure[Reason], OperationalError):
    """The session that held the locks is over, or may be: another process may have them by now."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.LEASE_LOST, detail)


class Lease:
    """
    A session that holds locks, between `open` and `close`.

    `heartbeat` is that of the loop that works under the locks. `connection` takes them; it may be used by any thread.
    """

    connection: Connection

    def __init__(self, url: str, name: str, lease: timedelta, heartbeat: Heartbeat) -> None:
        self._url = url
        self._name = name
        self._lease = lease
        self._heartbeat = heartbeat
        self._alive_at = 0.0
        self._lost = False
        self._closing = threading.Event()
        self._changing = threading.Lock()
        self._waker, self._wakes = socket.socketpair()
        self._thread = threading.Thread(target=self._keep, name=f"lease {name}", daemon=True)

    def open(self) -> None:
        """Connect. Raises psycopg.Error."""
        with self._changing:
            began = now()
            self.connection = connect(self._url, name=self._name, lease=self._lease, holds=True, statement=self._lease)
            self._alive_at = began
            self._thread.start()

    def close(self) -> None:
        """Release the locks, after an `open` that is under way in another thread."""
        self._closing.set()
        with self._changing:
            self._waker.send(b"!")
            if self._thread.ident is not None:
                self._thread.join(_CLOSE_LIMIT)
                if self._thread.is_alive():  # in the middle of a statement that does not end
                    _cut(self.connection)
                    self._thread.join()
                self.connection.close()
            self._waker.close()
            self._wakes.close()

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def beat(self) -> None:
        """Note that the loop that works under the locks runs."""
        self._heartbeat.beat()

    def rest(self) -> None:
        """Note that the loop waits for work, until its next beat."""
        self._heartbeat.rest()

    @property
    def held(self) -> bool:
        """Report whether no other session can hold the locks yet, by a clock that continues while the process is stopped."""
        return not self._lost and now() - self._alive_at < self._lease.total_seconds() * _SAFE_PART

    def check(self) -> None:
        """Raise LeaseLost unless the locks are held."""
        if not self.held:
            raise LeaseLost(f"the locks of {self._name} are lost: the session was silent for longer than the lease")

    def _keep(self) -> None:
        try:
            while not self._closing.is_set():
                self._keep_alive()
                # The server sends something unrequested only when it ends the session.
                _wait(self._lease / KEEPALIVES, self._wakes.fileno(), self.connection.fileno())
        except (psycopg.Error, OSError, ValueError) as error:  # a closed connection has no socket to wait for
            self._give_up(str(error).strip())

    def _keep_alive(self) -> None:
        if self._heartbeat.silent > self._lease * _LONGEST_ROUND:
            raise LeaseLost("the loop that works under it has not run for longer than the lease")
        began = now()
        self.connection.execute("select 1")
        self._alive_at = began

    def _give_up(self, why: str) -> None:
        if self._closing.is_set():
            return
        self._lost = True
        LOST.labels(self._name).inc()
        log.warning("lease_lost", reason=Reason.LEASE_LOST, holder=self._name, error=why)
        _cut(self.connection)


def _wait(limit: timedelta, *files: int) -> None:
    """Wait until one of the files can be read. By `poll`: a process may have more files open than `select` can take."""
    poll = select.poll()
    for each in files:
        poll.register(each, select.POLLIN)
    poll.poll(limit.total_seconds() * 1000)


def _cut(connection: Connection) -> None:
    """End the session at once, with any statement for which another thread waits."""
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
