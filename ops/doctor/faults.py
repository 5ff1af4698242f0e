"""Errors of Postgres, Redis and Elasticsearch in words: the fault of a connection, and the setting to correct."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ops.doctor.findings import one_line
from runtime.handshakes import explained

if TYPE_CHECKING:
    from collections.abc import Sequence

_Signs = tuple[tuple[str, str, str], ...]


class Fault(NamedTuple):
    """The fault of a connection in words, and what to do."""

    text: str
    act: str


_GRANTS: Final = "grant the role the rights that `tallyhook grants` prints"
_POSTGRES: Final[_Signs] = (
    ("password authentication failed|role .* does not exist", "it refuses this user or password", "correct DATABASE_URL"),
    (
        "fe_sendauth: no password|no password supplied",
        "it requires a password, and none is given",
        "correct DATABASE_URL or its passfile",
    ),
    ("certificate verify failed", "its certificate is not trusted", "correct sslrootcert in DATABASE_URL"),
    ("does not match host name", "its certificate is of another host", "correct the host in DATABASE_URL, or the certificate"),
    ("root certificate file .* does not exist", "the file of sslrootcert does not exist", "correct sslrootcert in DATABASE_URL"),
    ("server does not support SSL", "it does not use TLS", "correct sslmode or the port in DATABASE_URL, or switch its TLS on"),
    ("TLS only|no encryption", "it takes connections with TLS only", "put sslmode=verify-full and sslrootcert into DATABASE_URL"),
    ("client certificate", "it requires a certificate of the client", "put sslcert and sslkey into DATABASE_URL"),
    ("no pg_hba.conf entry", "its pg_hba.conf does not admit this user from here", "correct pg_hba.conf, or DATABASE_URL"),
    (
        "session is (not read-write|read-only)",
        "none of these servers accepts writes",
        "check which one is the primary, and whether it runs",
    ),
    ("database .* does not exist", "it has no such database", "create the database, or correct DATABASE_URL"),
    ("permission denied|must be owner", "the role lacks a right", _GRANTS),
)
_REDIS: Final[_Signs] = (
    ("invalid username-password|WRONGPASS", "it refuses this user or password", "correct the user and the password in REDIS_URL"),
    ("Authentication required|NOAUTH", "it requires a password, and none is given", "put user:password@ into REDIS_URL"),
    ("NOPERM|no permissions", "the user lacks a right", "give it the rights of docs/connections.md"),
    ("certificate has expired", "its certificate has expired", "renew it"),
    (
        "Hostname mismatch|IP address mismatch",
        "its certificate is of another host",
        "correct the host in REDIS_URL, or the certificate",
    ),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted", "correct REDIS_SSL_CA"),
    (
        "WRONG_VERSION_NUMBER|wrong version number",
        "it does not use TLS there",
        "correct the port in REDIS_URL, or write redis://",
    ),
    (
        "Connection closed by server|Connection reset",
        "it closes the connection, as a server does that expects TLS",
        "write rediss:// in REDIS_URL",
    ),
)
_ELASTICSEARCH: Final[_Signs] = (
    (
        "AuthenticationException|401",
        "it refuses these credentials",
        "correct ELASTICSEARCH_API_KEY, or the user in ELASTICSEARCH_URL",
    ),
    ("AuthorizationException|403", "the credentials lack a right", "give them the rights of docs/connections.md"),
    ("certificate has expired", "its certificate has expired", "renew it"),
    (
        "Hostname mismatch|IP address mismatch",
        "its certificate is of another host",
        "correct ELASTICSEARCH_URL, or the certificate",
    ),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted", "correct ELASTICSEARCH_SSL_CA"),
    (
        "WRONG_VERSION_NUMBER|wrong version number|record layer failure",
        "it does not use TLS there",
        "correct the port or the scheme in ELASTICSEARCH_URL",
    ),
    (
        "Connection aborted|RemoteDisconnected|Server disconnected",
        "it closes the connection, as a server does that expects TLS",
        "write https:// in ELASTICSEARCH_URL",
    ),
)


def of_postgres(error: BaseException, url: str) -> Fault:
    """Explain an error of psycopg; libpq does not report why it refuses a certificate, so the certificate is examined."""
    fault = _explained(error, _POSTGRES, "DATABASE_URL")
    return fault._replace(text=explained(fault.text, url))


def of_redis(error: BaseException) -> Fault:
    return _explained(error, _REDIS, "REDIS_URL")


def of_elasticsearch(error: BaseException) -> Fault:
    return _explained(error, _ELASTICSEARCH, "ELASTICSEARCH_URL")


def _explained(error: BaseException, signs: Sequence[tuple[str, str, str]], setting: str) -> Fault:
    causes = (error, error.__cause__ or error)  # the client of Elasticsearch reports only that it is an error of TLS
    message = one_line(causes[-1])
    for sign, text, act in signs:
        if any(re.search(sign, f"{type(each).__name__} {each}") for each in causes):
            return Fault(f"{text} ({message})", act)
    return Fault(message, f"start it, or correct {setting}")
