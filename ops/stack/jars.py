"""The jars of `jars.toml`, fetched once into a cache that all stacks share."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ops.stack.errors import Cancelled, DownloadRefused
from ops.stack.places import cache_folder
from runtime.settings import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ops.stack.maven import Maven
    from ops.stack.server import Surroundings

_PINS = Path(__file__).with_name("jars.toml")
_PARALLEL = 8


def ensure_jars(section: str, server: str, around: Surroundings) -> Path:
    """Return a folder with exactly the pinned jars of this section; it appears as a whole, also with several callers at once."""
    pins: dict[str, str] = tomllib.loads(_PINS.read_text())[section]
    digest = hashlib.sha256(repr(sorted(pins.items())).encode()).hexdigest()[:12]
    jars = cache_folder() / "jars"
    folder = jars / f"{section}-{digest}"
    if folder.exists():
        return folder
    jars.mkdir(parents=True, exist_ok=True)
    with _only_one(jars / f"{section}.lock"):
        if not folder.exists():
            for leftover in jars.glob(f".{section}-*"):
                shutil.rmtree(leftover)
            partial = Path(tempfile.mkdtemp(prefix=f".{section}-", dir=jars))
            _fetch_all(pins, partial, server, around)
            partial.chmod(0o755)
            partial.rename(folder)
    return folder


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _fetch_all(pins: Mapping[str, str], folder: Path, server: str, around: Surroundings) -> None:
    from ops.stack.maven import Maven  # noqa: PLC0415  only the first start needs a client

    around.report(server, f"downloading {len(pins)} jars")
    failed = threading.Event()

    def check() -> None:
        around.check()
        if failed.is_set():
            raise Cancelled("another jar could not be fetched")

    with Maven(environment()) as repository, ThreadPoolExecutor(_PARALLEL) as pool:
        fetches = [pool.submit(_fetch, repository, *pin, folder, check) for pin in pins.items()]
        for done, fetch in enumerate(as_completed(fetches), start=1):
            if error := fetch.exception():
                failed.set()
                pool.shutdown(cancel_futures=True)
                raise error
            around.report(server, f"downloading jars: {done} of {len(pins)}")


def _fetch(repository: Maven, coordinate: str, digest: str, folder: Path, check: Callable[[], None]) -> None:
    check()
    _, artifact, version = coordinate.split(":")
    path = folder / f"{artifact}-{version}.jar"
    if repository.fetch(coordinate, path, check) != digest:
        raise DownloadRefused(f"the jar {coordinate} that was fetched is not the one pinned in {_PINS.name}")
