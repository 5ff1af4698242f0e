"""The clock of a machine, wrong or just before midnight as a test needs it: programs run with libfaketime preloaded."""

from __future__ import annotations

import platform
import time
import zipfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ops.stack.postgres import Postgres
from tests.needs import missing
from tests.wheels import wheel

if TYPE_CHECKING:
    from pathlib import Path

_PACKAGE: Final = ("libfaketime==3.0.1", "5eed7c17f3d4ba0f6f828de4975f69a622b06b1e792674e6c1b069c0689fab79")
_LIBRARY: Final = "libfaketime/vendor/libfaketime/src/libfaketime.so.1"
_MACHINE: Final = ("Linux", "x86_64")  # for which the package is built


class Clock:
    """
    The wall clock of programs that run in its `environment`; it can be set while they run, and they see it at once.

    Not for a relay: librdkafka waits for moments of the wall clock, so its clients hang under this library.
    """

    def __init__(self, folder: Path, now: datetime) -> None:
        self._file = folder / "clock"
        self.environment = {
            "LD_PRELOAD": str(_library_in(folder)),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set(now)

    def time(self) -> float:
        """As `time.time`, by this clock."""
        return time.time() + self._offset

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def set(self, now: datetime) -> None:
        self._offset = round(now.timestamp() - time.time())
        fresh = self._file.with_suffix(".fresh")
        fresh.write_text(f"{self._offset:+d}")
        fresh.chmod(0o644)  # Postgres runs as another account
        fresh.replace(self._file)

    def step(self, by: timedelta) -> None:
        self.set(self.now + by)


class ClockedPostgres(Postgres):
    """A server with its own clock, which shows noon of five days ago at first: there is a partition for today."""

    def prepare(self) -> None:
        super().prepare()
        noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
        self.clock = Clock(self.folder, noon - timedelta(days=5))

    def command(self) -> list[str | Path]:
        return ["/usr/bin/env", *(f"{name}={value}" for name, value in self.clock.environment.items()), *super().command()]


def _library_in(folder: Path) -> Path:
    """The library in a folder that the programs can reach."""
    library = folder / "libfaketime.so.1"
    if (platform.system(), platform.machine()) != _MACHINE:
        missing("no libfaketime: the package has one for Linux on x86-64 only")
    with zipfile.ZipFile(wheel(*_PACKAGE)) as package:
        library.write_bytes(package.read(_LIBRARY))
    library.chmod(0o755)
    return library
