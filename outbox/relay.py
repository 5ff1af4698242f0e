"""
Carries pending rows to Kafka.

`Relay` connects, hands its connections to a session, and starts again when Postgres goes away. `Session` takes and releases
shards, waits for hints and sends one batch after the other.
"""

from concurrent.futures import ThreadPoolExecutor

from psycopg import Connection

from outbox import metrics
from outbox.publisher import Publisher
from outbox.read_ahead import ReadAhead
from outbox.relay_session import Session
from outbox.settings import RelaySettings
from runtime.database import UNAVAILABLE
from runtime.failures import Failures
from runtime.heartbeat import Heartbeat
from runtime.lease import Lease
from runtime.process import Stop
from runtime.sessions import check_writable, connect


class Relay:
    """One relay; any number of them run side by side."""

    def __init__(self, settings: RelaySettings, publisher: Publisher, stop: Stop) -> None:
        self._settings = settings
        self._publisher = publisher
        self._stop = stop
        self._session: Session | None = None
        self.heartbeat = Heartbeat("relay")

    def readiness(self) -> dict[str, int] | None:
        """Return the number of owned shards, or None while Postgres is away."""
        session = self._session
        return {"shards": len(session.shards.owned)} if session else None

    def run(self) -> None:
        """Relay until asked to stop."""
        failures = Failures("relay", postponed="relay_interrupted")
        while not self._stop.requested:
            failures.begin()
            try:
                with (
                    Lease(self._settings.database_url, "relay shards", self._settings.lock_lease, self.heartbeat) as lease,
                    self._connect() as connection,
                    self._connect() as reader,
                    ThreadPoolExecutor(1, "read-ahead") as ahead,
                ):
                    check_writable(connection)  # what is sent and cannot be deleted would be sent again and again
                    reading = ReadAhead(reader, ahead)
                    self._session = Session(
                        lease, connection, reading, settings=self._settings, publisher=self._publisher, stop=self._stop
                    )
                    self._session.run()
            except Exception as error:  # noqa: BLE001  # an unexpected error would end the relay again at every start
                if isinstance(error, UNAVAILABLE):
                    metrics.RECONNECTS.inc()
                # Events under way are still pending, and may soon be another relay's: this one must not continue to send them.
                self._publisher.renew()
                self._stop.wait(failures.pause_after(error))
            finally:
                self._session = None
                self.heartbeat.beat()

    def _connect(self) -> Connection:
        lease = self._settings.lock_lease
        connection = connect(self._settings.database_url, name="relay", lease=lease, statement=lease)
        # Every read looks up few rows by their ids. On tables that have just been filled or emptied, the statistics would lead
        # to a scan of a whole day of the log at every read. One plan serves all reads, so none is made for each.
        connection.execute("set plan_cache_mode = force_generic_plan")
        connection.execute("set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off")
        # If a crash of Postgres undoes a deletion, an event is sent twice, which at-least-once allows. Waiting for the disk at
        # every batch would slow every commit of intake.
        connection.execute("set synchronous_commit = off")
        return connection
