"""The jars of `jars.toml`, fetched once through jgo into a cache that all stacks share."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ops.stack.errors import DownloadRefused
from ops.stack.places import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jgo.maven import MavenContext

    from ops.stack.server import Surroundings

_PINS = Path(__file__).with_name("jars.toml")
_PARALLEL = 8


def ensure_jars(section: str, server: str, around: Surroundings) -> Path:
    """A folder with exactly the pinned jars of this section; whole or not there at all, whoever else asks for it."""
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
    from jgo.maven import MavenContext  # noqa: PLC0415  it costs half a second, and only the first start needs it

    around.report(server, f"downloading {len(pins)} jars")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as repository:
        context = MavenContext(repo_cache=Path(repository), local_repos=[], timeout=60)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            fetches = [pool.submit(_fetch, context, *pin, folder, around) for pin in pins.items()]
            for done, fetch in enumerate(as_completed(fetches), start=1):
                if error := fetch.exception():
                    pool.shutdown(cancel_futures=True)
                    raise error
                around.report(server, f"downloading jars: {done} of {len(pins)}")


def _fetch(context: MavenContext, coordinate: str, digest: str, folder: Path, around: Surroundings) -> None:
    around.check()
    group, artifact, version = coordinate.split(":")
    try:
        path = context.project(group, artifact).at_version(version).artifact().resolve()
    except (RuntimeError, OSError) as error:
        raise DownloadRefused(f"could not fetch the jar {coordinate} from the Maven repository: {error}") from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise DownloadRefused(f"the jar {coordinate} that was fetched is not the one pinned in {_PINS.name}")
    path.rename(folder / path.name)
