"""
TLS as a server speaks it: the fault of the certificate that it shows, in OpenSSL's words.

libpq and librdkafka only say that they do not trust a certificate; that it has expired is found by a look of our own.
"""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from psycopg.conninfo import conninfo_to_dict

_LIMIT: Final = 3.0  # seconds
_SSL_REQUEST: Final = struct.pack("!II", 8, 80_877_103)
"""Sent to Postgres before a handshake: https://www.postgresql.org/docs/current/protocol-message-formats.html."""
UNVERIFIED: Final = "certificate verify failed"
"""The words of libpq and librdkafka for any fault of a certificate."""


class End(NamedTuple):
    """An end of a connection with TLS; Postgres is asked for TLS first."""

    server: str
    host: str
    port: int
    postgres: bool = False

    def __str__(self) -> str:
        return f"{self.server} at {self.host}:{self.port}"


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


def ends_of_kafka(servers: str) -> list[End]:
    parts = [server.strip().rpartition(":") for server in servers.split(",")]
    return [End("Kafka", host.strip("[]"), int(port)) for host, _, port in parts]


def explained(text: str, url: str) -> str:
    """Return an error's text of Postgres with the fault of the certificate, where it is about one."""
    why = fault_of(ends_of_postgres(url), conninfo_to_dict(url).get("sslrootcert")) if UNVERIFIED in text else None
    return f"{text} ({why})" if why else text


def fault_of(ends: Sequence[End], ca: object) -> str | None:
    """
    Return the fault of a certificate; None if there is none, or nobody answers in time.

    The caller may be in the middle of its work: all ends are looked at together, each by a thread that nobody waits for longer.
    """
    faults: SimpleQueue[str | None] = SimpleQueue()

    def look(end: End) -> None:
        faults.put(fault_of_certificate(end, str(ca) if ca else None))

    until = time.monotonic() + _LIMIT
    for end in ends:
        threading.Thread(target=look, args=(end,), name=f"look at {end}", daemon=True).start()
    for _ in ends:
        try:
            if fault := faults.get(timeout=max(0.0, until - time.monotonic())):
                return fault
        except Empty:
            break
    return None


def fault_of_certificate(end: End, ca: str | None) -> str | None:
    """Return OpenSSL's words for the fault of the server's certificate; None if it has none, or does not answer."""
    try:
        connected(end, ssl.create_default_context(cafile=None if ca == "system" else ca)).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        return None
    return None


def connected(end: End, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a connection whose handshake is done. Raises OSError; ssl.SSLError is one."""
    with ExitStack() as closing:
        connection = closing.enter_context(socket.create_connection((end.host, end.port), timeout=_LIMIT))
        if end.postgres:
            connection.sendall(_SSL_REQUEST)
            connection.recv(1)  # without TLS the handshake fails
        secure = context.wrap_socket(connection, server_hostname=end.host)
        closing.pop_all()
        return secure
