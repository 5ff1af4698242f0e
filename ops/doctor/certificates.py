"""The certificates of TLS: those that the servers show, and the files of our own; which have expired, and which soon will."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificates
from psycopg.conninfo import conninfo_to_dict

from ops.doctor.findings import fail, ok, warn
from ops.doctor.settings import address_in
from outbox.settings import TopicSettings
from runtime import endpoints
from runtime.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ops.doctor.findings import Finding

AREA: Final = "certificates"
_SOON: Final = timedelta(days=14)
_LIMIT: Final = 3.0  # seconds
_SSL_REQUEST: Final = struct.pack("!II", 8, 80_877_103)
"""Sent to Postgres before a handshake: https://www.postgresql.org/docs/current/protocol-message-formats.html."""
_FILES: Final = ("INTERNAL_TLS_CERT", "KAFKA_SSL_CERT")


class End(NamedTuple):
    """An end of a connection with TLS; Postgres is asked for TLS first."""

    server: str
    host: str
    port: int
    postgres: bool = False

    def __str__(self) -> str:
        return f"{self.server} at {self.host}:{self.port}"


def check_certificates(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell until when each certificate is valid; servers without TLS, or that do not answer, are reported elsewhere."""
    for end in (*_postgres(environ), *_kafka(environ), *_by_address(environ)):
        until = end_of(end)
        if until:
            yield judge(str(end), until, datetime.now(UTC))
    for name in _FILES:
        for until in _of_file(environ.get(name, "")):
            yield judge(f"{name} of this machine", until, datetime.now(UTC))


def judge(of: str, until: datetime, now: datetime) -> Finding:
    text = f"{of}: the certificate "
    if until <= now:
        act = "renew it: whoever verifies it refuses the connection"
        return fail(AREA, f"{text}has expired, on {until:%Y-%m-%d %H:%M} UTC", act, "process-down")
    if until - now < _SOON:
        return warn(AREA, f"{text}expires soon, on {until:%Y-%m-%d %H:%M} UTC", "renew it before", "process-down")
    return ok(AREA, f"{text}is valid until {until:%Y-%m-%d}")


def end_of(end: End) -> datetime | None:
    """Return the end of the certificate's time, trusted or not; None if there is no TLS or no answer."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is said to it, its certificate is read
    try:
        with _connected(end, context) as connection:
            shown = connection.getpeercert(binary_form=True)
            return load_der_x509_certificate(shown).not_valid_after_utc if shown else None
    except (OSError, ValueError):
        return None


def fault_of_certificate(end: End, ca: str | None) -> str | None:
    """Return OpenSSL's words for the fault of the server's certificate; None if it has none, or does not answer."""
    try:
        _connected(end, ssl.create_default_context(cafile=None if ca == "system" else ca)).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        return None
    return None


def _connected(end: End, context: ssl.SSLContext) -> ssl.SSLSocket:
    with ExitStack() as closing:
        connection = closing.enter_context(socket.create_connection((end.host, end.port), timeout=_LIMIT))
        if end.postgres:
            connection.sendall(_SSL_REQUEST)
            connection.recv(1)  # without TLS the handshake fails
        secure = context.wrap_socket(connection, server_hostname=end.host)
        closing.pop_all()
        return secure


def ends_of_postgres(url: str) -> list[End]:
    given = conninfo_to_dict(url)
    hosts = str(given.get("host") or "").split(",")
    ports = str(given.get("port") or "5432").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return [
        End("Postgres", host.strip("[]"), int(port or 5432), postgres=True)
        for host, port in zip(hosts, ports, strict=False)
        if host and not host.startswith("/")
    ]


def _postgres(environ: Mapping[str, str]) -> list[End]:
    url = address_in(environ, "DATABASE_URL", endpoints.check_database)
    if not url or conninfo_to_dict(url).get("sslmode") in {None, "disable", "allow", "prefer"}:
        return []
    return ends_of_postgres(url)


def _kafka(environ: Mapping[str, str]) -> list[End]:
    try:
        kafka = TopicSettings.load(environ).kafka
    except SettingsError:
        return []
    parts = [server.strip().rpartition(":") for server in kafka.servers.split(",")]
    return [End("Kafka", host.strip("[]"), int(port)) for host, _, port in parts] if kafka.tls else []


def _by_address(environ: Mapping[str, str]) -> Iterator[End]:
    redis = address_in(environ, "REDIS_URL", endpoints.check_redis)
    index = address_in(environ, "ELASTICSEARCH_URL", endpoints.check_elasticsearch)
    for server, url, scheme, port in (("Redis", redis, "rediss", 6379), ("Elasticsearch", index, "https", 443)):
        parts = urlsplit(url or "")
        if parts.scheme == scheme and parts.hostname:
            yield End(server, parts.hostname, parts.port or port)


def _of_file(path: str) -> list[datetime]:
    try:
        return [load_pem_x509_certificates(Path(path).read_bytes())[0].not_valid_after_utc] if path else []
    except (OSError, ValueError):
        return []  # reported among the settings
