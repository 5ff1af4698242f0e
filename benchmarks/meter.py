"""The cost of work: processor time of every process and server that takes part, and the bytes that the servers write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import cpu_seconds_of_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.system import Running, System


class Meter:
    """A meter counts from its creation. The load and the receivers of the effects are not counted."""

    def __init__(self, ours: System, processes: Sequence[Running]) -> None:
        self._pids = {process.name: process.pid for process in processes}
        self._pids |= {server.name: server.pid for server in ours.stack.servers if server.pid}
        self._ours = ours
        self._before, self._written_before = self._now(), self._written()

    def cost(self, events: int) -> dict[str, float]:
        """Return milliseconds per event, by process; the same number is seconds per 1,000 events."""
        return {name: (now - self._before[name]) * 1000 / events for name, now in self._now().items()}

    def written(self, events: int) -> dict[str, float]:
        """Return kilobytes per event, for one copy, that Postgres and Kafka have written."""
        return {place: (now - self._written_before[place]) / 1000 / events for place, now in self._written().items()}

    def _written(self) -> dict[str, float]:
        with self._ours.connect() as connection:
            row = connection.execute("select pg_current_wal_lsn() - '0/0'").fetchone()
        logs = [path for path in self._ours.stack.kafka.folder.rglob("*.log") if not path.parent.name.startswith("__")]
        return {"WAL": float(row[0]) if row else 0.0, "topics": float(sum(path.stat().st_size for path in logs))}

    def _now(self) -> dict[str, float]:
        return {name: cpu_seconds_of_all(pid) for name, pid in self._pids.items()}
