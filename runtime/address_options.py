"""Checks of the options in the addresses of Postgres and Redis: their clients would notice a wrong one late, or not at all."""

import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, PGconn

_SSL_MODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})  # libpq's, section 34.19
_VERIFIED: Final = frozenset({"verify-ca", "verify-full"})
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
_READING: Final = frozenset({"read-only", "standby"})
_SESSIONS: Final = _READING | {"any", "read-write", "primary", "prefer-standby"}
_WHOLE: Final = (
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
_INTEGER: Final = re.compile(r" *[+-]?[0-9]{1,9} *")
_NO_SOCKET: Final = "/nonexistent/tallyhook"
_BEYOND_OPTIONS: Final = (_NO_SOCKET, "GSSAPI encryption required but it is not supported over a local socket")
"""Ends of libpq's attempt that come after it has accepted the options; gssencmode=require has the second."""
_OF_REDIS: Final = frozenset(
    {
        *("db", "username", "password", "client_name", "protocol", "max_connections", "health_check_interval"),
        *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "retry_on_timeout"),
        *("ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version", "ssl_ciphers", "ssl_password"),
        *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile"),
        *("ssl_include_verify_flags", "ssl_exclude_verify_flags", "socket_read_size"),
    }
)
"""Of redis-py's options those that a text can express, and with which its keys and its answers stay as they are."""
_FILES_OF_REDIS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_POSITIVE: Final = ("socket_timeout", "socket_connect_timeout", "max_connections")


def faults_of_postgres(given: Mapping[str, Any]) -> list[str]:
    """Find what libpq would notice only when it connects, or not at all."""
    return [*_faults_of_sessions(given), *_faults_of_files(given), *_faults_of_texts(given)] or [*_refused_by_libpq(given)]


def _faults_of_sessions(given: Mapping[str, Any]) -> Iterator[str]:
    mode, trusted = given.get("sslmode", "prefer"), given.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if mode not in _SSL_MODES:
        yield f"its sslmode is not one of {', '.join(sorted(_SSL_MODES))}"
    elif mode in _VERIFIED and not trusted:
        yield f"its sslmode {mode} needs sslrootcert, a PEM file of the authority, or sslrootcert=system"
    for name, needed in (("sslcert", "sslkey"), ("sslkey", "sslcert")):
        if given.get(name) and not given.get(needed):
            yield f"has {name} without {needed}"
    if (attrs := given.get("target_session_attrs", "any")) not in _SESSIONS:
        yield f"its target_session_attrs is not one of {', '.join(sorted(_SESSIONS))}"
    elif attrs in _READING:
        yield f"its target_session_attrs {attrs} is for servers that accept no writes: read-write is expected"


def _faults_of_files(given: Mapping[str, Any]) -> list[str]:
    return [*_unreadable_in(given, _FILES)] or [*_faults_of_tls(given)]


def _faults_of_texts(given: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"its {name} is no whole number" for name in _WHOLE if not _INTEGER.fullmatch(str(given.get(name, 0))))
    if str(given.get("client_encoding", "utf8")).lower().replace("-", "").replace("_", "") not in {"utf8", "unicode"}:
        yield "its client_encoding is not UTF8"


def _unreadable_in(given: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if (text := given.get(name)) and (name, text) != ("sslrootcert", "system") and (fault := _unreadable(Path(text))):
            yield f"its {name} {fault}"


def _faults_of_tls(given: Mapping[str, Any]) -> Iterator[str]:
    """Find a file with which no session could begin; libpq takes no key that others may read, and also one in DER."""
    authority, cert, key = (given.get(name) for name in ("sslrootcert", "sslcert", "sslkey"))
    if authority and authority != "system" and not _loads(lambda context: context.load_verify_locations(authority)):
        yield "its sslrootcert is not a usable certificate in PEM"
    if not (cert and key):
        return
    about = Path(key).stat()
    if about.st_mode & (0o037 if about.st_uid == 0 else 0o077):
        yield "its sslkey can be read by others, and libpq refuses such a key: chmod 600"
    password = given.get("sslpassword") or ""
    if b"-----BEGIN" in Path(key).read_bytes() and not _loads(lambda context: context.load_cert_chain(cert, key, password)):
        yield "its sslcert and sslkey are not a usable certificate in PEM and its key"


def _loads(load: Callable[[ssl.SSLContext], None]) -> bool:
    try:
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        return False
    return True


def _refused_by_libpq(given: Mapping[str, Any]) -> Iterator[str]:
    """
    Yield libpq's words for options that it refuses, without their values.

    It looks at them when a connection begins; one to a socket that cannot be there reaches no server.
    """
    hosts, addresses = (str(given.get(name) or "").split(",") for name in ("host", "hostaddr"))
    if addresses != [""]:
        if given.get("host") and len(hosts) != len(addresses):
            yield "has another number of hosts than of hostaddr"
            return
        if not all(_is_address(each) for each in addresses if each):
            yield "its hostaddr is no address"
            return
        hosts = addresses
    nowhere = {"host": ",".join([_NO_SOCKET] * len(hosts)), "hostaddr": "", "password": "-", "passfile": ""}
    if hosts == [""]:  # a service file or PGHOST names them, and may name several, with a port for each
        nowhere["port"] = ""
    connection = PGconn.connect_start(make_conninfo(**{**given, **nowhere}).encode())
    try:
        text = connection.error_message.decode("utf-8", "replace").strip()
        if connection.status != ConnStatus.BAD or not text or any(each in text for each in _BEYOND_OPTIONS):
            return
    finally:
        connection.finish()
    values = ",".join(map(str, given.values()))
    yield "libpq refuses it: " + re.sub('"([^"]*)"', lambda match: "…" if match[1] in values else match[0], text)


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def _unreadable(path: Path) -> str | None:
    try:
        with path.open("rb"):
            return None
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"


def check_redis_options(url: str) -> None:
    """Refuse options that the client of Redis does not know, or with which it would fail at its first command (ValueError)."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    if given.keys() - _OF_REDIS or not _are_known_to_redis(url):
        raise ValueError("has options that its client does not know")
    for name in _POSITIVE:
        if name in given and not float(given[name]) > 0:
            raise ValueError(f"its {name} is not above 0")
    database, path = int(given.get("db", "0")), parts.path.strip("/")
    if database < 0:
        raise ValueError("its db is below 0")
    if "db" in given and path and int(path) != database:
        raise ValueError("has two numbers of a database, in its path and as db")
    if unreadable := [*_unreadable_in(given, _FILES_OF_REDIS)]:
        raise ValueError("; ".join(unreadable))


def _are_known_to_redis(url: str) -> bool:
    from redis import ConnectionPool, RedisError  # noqa: PLC0415  # most processes need no Redis

    try:
        ConnectionPool.from_url(url).make_connection()  # which connects to nothing
    except (RedisError, TypeError, ValueError):
        return False
    return True
