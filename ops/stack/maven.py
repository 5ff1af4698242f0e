"""A Maven repository over HTTP: Central, or the mirror of a company, by this machine's certificates and proxies."""

from __future__ import annotations

import hashlib
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3 import Retry

from ops.stack.errors import DownloadRefused
from runtime.addresses import shown
from runtime.build import release
from runtime.endpoints import check_server
from runtime.outgoing import MIRROR
from runtime.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

CENTRAL: Final = "https://repo.maven.apache.org/maven2"
_TIMEOUT: Final = (5.0, 30.0)  # seconds to connect, and between two pieces of an answer
_BROKEN_MAX: Final = 3
_PIECE: Final = 1 << 16
# A certificate that is not trusted (among the `other` errors) does not become so by asking again.
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
        """Raises DownloadRefused where TALLYHOOK_MAVEN_MIRROR is no address."""
        url = environ.get(MIRROR) or CENTRAL
        try:
            parts = urlsplit(check_server(url))
        except ValueError as error:
            raise DownloadRefused(f"{MIRROR}: {error}") from None
        if parts.scheme not in {"http", "https"}:
            raise DownloadRefused(f"{MIRROR}: an address over http or https is expected")
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

        `check` is called between its pieces, and may raise to end it. Raises DownloadRefused.
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

    def _refused(self, coordinate: str, error: Exception, url: str) -> DownloadRefused:
        proxy = select_proxy(url, get_environ_proxies(url))
        why = redacted(_why(error, self._where, shown(proxy) if proxy else None))
        return DownloadRefused(f"could not fetch the jar {coordinate}: {why}")

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
    """Yield the error and all errors behind it, which libraries keep as causes, contexts, reasons and arguments."""
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
