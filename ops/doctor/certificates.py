"""The certificates of TLS: those that the servers present, and our own files; some may have expired or expire soon."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cryptography.x509 import load_der_x509_certificate
from psycopg.conninfo import conninfo_to_dict

from ops.doctor.findings import fail, ok, warn
from ops.doctor.settings import address_in
from outbox.settings import TopicSettings
from runtime import endpoints
from runtime.certificates import expiry_of, last_expiry_of
from runtime.handshakes import TlsServer, connected, servers_of_kafka, servers_of_postgres
from runtime.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ops.doctor.findings import Finding

AREA: Final = "certificates"
_SOON: Final = timedelta(days=14)
_FILES: Final = ("INTERNAL_TLS_CERT", "KAFKA_SSL_CERT")
_AUTHORITIES: Final = ("INTERNAL_TLS_CLIENT_CA", "KAFKA_SSL_CA", "REDIS_SSL_CA", "ELASTICSEARCH_SSL_CA")


def check_certificates(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Report until when each certificate is valid; other checks report servers without TLS or without an answer."""
    for server in (*_postgres(environ), *_kafka(environ), *_by_address(environ)):
        until = expiry_at(server)
        if until:
            yield judge(str(server), until, datetime.now(UTC))
    for name, path in _files(environ):
        if path and (until := expiry_of(Path(path))):
            yield judge(f"{name} of this machine", until, datetime.now(UTC))
    for name in _AUTHORITIES:  # many bundles also hold authorities that have expired
        path = environ.get(name, "")
        if path and (until := last_expiry_of(Path(path))):
            found = judge(f"{name} of this machine", until, datetime.now(UTC))
            yield from [found] if found.level != "ok" else []


def judge(of: str, until: datetime, now: datetime) -> Finding:
    text = f"{of}: the certificate "
    if until <= now:
        act = "renew it: any client that verifies it refuses the connection"
        return fail(AREA, f"{text}has expired, on {until:%Y-%m-%d %H:%M} UTC", act, "process-down")
    if until - now < _SOON:
        return warn(AREA, f"{text}expires soon, on {until:%Y-%m-%d %H:%M} UTC", "renew it before", "process-down")
    return ok(AREA, f"{text}is valid until {until:%Y-%m-%d}")


def expiry_at(server: TlsServer) -> datetime | None:
    """Return when the server's certificate expires, trusted or not; None if there is no TLS or no answer."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is only read, and nothing is sent
    try:
        with connected(server, context) as connection:
            shown = connection.getpeercert(binary_form=True)
            return load_der_x509_certificate(shown).not_valid_after_utc if shown else None
    except (OSError, ValueError):
        return None


def _postgres(environ: Mapping[str, str]) -> list[TlsServer]:
    url = address_in(environ, "DATABASE_URL", endpoints.check_database)
    if not url or conninfo_to_dict(url).get("sslmode") in {None, "disable", "allow", "prefer"}:
        return []
    return servers_of_postgres(url)


def _kafka(environ: Mapping[str, str]) -> list[TlsServer]:
    try:
        kafka = TopicSettings.load(environ).kafka
    except SettingsError:
        return []
    return servers_of_kafka(kafka.servers) if kafka.tls else []


def _by_address(environ: Mapping[str, str]) -> Iterator[TlsServer]:
    redis = address_in(environ, "REDIS_URL", endpoints.check_redis)
    index = address_in(environ, "ELASTICSEARCH_URL", endpoints.check_elasticsearch)
    for server, url, scheme, port in (("Redis", redis, "rediss", 6379), ("Elasticsearch", index, "https", 443)):
        parts = urlsplit(url or "")
        if parts.scheme == scheme and parts.hostname:
            yield TlsServer(server, parts.hostname, parts.port or port)


def _files(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Our own certificates, by the name of the setting."""
    yield from ((name, environ.get(name, "")) for name in _FILES)
    if url := address_in(environ, "DATABASE_URL", endpoints.check_database):
        yield "sslcert in DATABASE_URL", str(conninfo_to_dict(url).get("sslcert") or "")
