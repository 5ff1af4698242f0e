"""
The jars of `jars.toml`, fetched once into a cache that all stacks share.

They come from a Maven repository over HTTP: Central, or the mirror of a company, with this machine's certificates and proxies.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import ssl
import tempfile
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3 import Retry

from ops.stack.errors import Cancelled, Reason, StackError
from ops.stack.places import cache_folder
from runtime.addresses import shown
from runtime.build import release
from runtime.endpoints import check_login, check_server
from runtime.outgoing import MIRROR
from runtime.redaction import redacted
from runtime.settings import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from ops.stack.server import Surroundings

CENTRAL: Final = "https://repo.maven.apache.org/maven2"
_TIMEOUT: Final = (5.0, 30.0)  # seconds to connect, and between two pieces of an answer
_BROKEN_MAX: Final = 3
_PIECE: Final = 1 << 16
# A certificate that is not trusted (among the `other` errors) does not become trusted by a retry.
_RETRY: Final = Retry(
    total=3,
    connect=1,
    read=2,
    other=0,
    status_forcelist=(429, 502, 503, 504),
    backoff_factor=0.5,
    raise_on_status=False,
    respect_retry_after_header=False,
)


class Maven:
    """Fetches jars; safe from several threads."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises StackError `download_refused` if TALLYHOOK_MAVEN_MIRROR is no address."""
        url = environ.get(MIRROR) or CENTRAL
        try:
            parts = urlsplit(check_login(check_server(url)))
        except ValueError as error:
            raise StackError(Reason.DOWNLOAD_REFUSED, f"{MIRROR}: {error}") from None
        if parts.scheme not in {"http", "https"}:
            raise StackError(Reason.DOWNLOAD_REFUSED, f"{MIRROR}: an address over http or https is expected")
        self._where = shown(url)
        # Without user and password: no library has them to put into an error.
        self._root = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self._session = requests.Session()
        self._session.mount(f"{parts.scheme}://", HTTPAdapter(pool_maxsize=16, max_retries=_RETRY))
        self._session.headers["User-Agent"] = f"Tallyhook/{release()}"
        if parts.username is not None:
            self._session.auth = (unquote(parts.username), unquote(parts.password or ""))

    def fetch(self, coordinate: str, path: Path, check: Callable[[], None]) -> str:
        """
        Write a jar, given as `group:artifact:version`, to the path; returns its SHA-256.

        `check` is called between its pieces, and may raise to end it. Raises StackError `download_refused`.
        """
        group, artifact, version = coordinate.split(":")
        url = f"{self._root}/{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.jar"
        for attempt in range(1, _BROKEN_MAX + 1):
            try:
                return self._write(url, path, check)
            except requests.exceptions.ChunkedEncodingError as error:  # it broke off half-way
                if attempt == _BROKEN_MAX:
                    raise self._refused(coordinate, error, url) from error
            except (requests.RequestException, OSError) as error:
                raise self._refused(coordinate, error, url) from error
        raise AssertionError

    def _write(self, url: str, path: Path, check: Callable[[], None]) -> str:
        digest = hashlib.sha256()
        with self._session.get(url, stream=True, timeout=_TIMEOUT) as answer, path.open("wb") as file:
            answer.raise_for_status()
            for piece in answer.iter_content(_PIECE):
                check()
                digest.update(piece)
                file.write(piece)
        return digest.hexdigest()

    def _refused(self, coordinate: str, error: Exception, url: str) -> StackError:
        proxy = select_proxy(url, get_environ_proxies(url))
        why = redacted(_why(error, self._where, shown(proxy) if proxy else None))
        return StackError(Reason.DOWNLOAD_REFUSED, f"could not fetch the jar {coordinate}: {why}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._session.close()


def _why(error: Exception, where: str, proxy: str | None) -> str:
    """Describe the fault and its remedy in one line."""
    causes = _causes(error)
    if untrusted := next((each for each in causes if isinstance(each, ssl.SSLCertVerificationError)), None):
        act = "set SSL_CERT_FILE to a file with the certificates of your company's CA, or install that CA on this machine"
        named = os.environ.get("SSL_CERT_FILE")
        if named and not Path(named).is_file():
            act = f"SSL_CERT_FILE names {named}, and there is no such file"
        return f"the certificate of {where} is not trusted by this machine ({untrusted.verify_message}); {act}"
    if secure := next((each for each in causes if isinstance(each, ssl.SSLError)), None):
        return f"no TLS connection to {where}: {secure.reason or secure}"
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code if error.response is not None else "an error"
        act = f"; {MIRROR} may hold user:password@ before its host" if status in {401, 403} else ""
        return f"{where} answers {status}{act}"
    last = causes[-1]
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy {proxy} does not let us through to {where} ({_words(last)}); see HTTPS_PROXY and NO_PROXY"
    via = f" through the proxy {proxy}" if proxy else ""
    act = "see HTTPS_PROXY, or name a mirror in " + MIRROR
    return f"{where} cannot be reached{via} ({_words(last)}); {act}"


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and all errors that led to it, which libraries keep as causes, contexts, reasons and arguments."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            waiting += [getattr(each, "reason", None), getattr(each, "original_error", None), *each.args, each.__cause__]
            waiting.append(each.__context__)
    return found


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


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
        raise StackError(Reason.DOWNLOAD_REFUSED, f"the jar {coordinate} that was fetched is not the one pinned in {_PINS.name}")
