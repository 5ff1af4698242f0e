"""
Finds the fault of a server's certificate by a TLS handshake, and returns it in OpenSSL's words.

libpq and librdkafka report only that they do not trust a certificate, and not that it has expired, for example.
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


class TlsServer(NamedTuple):
    """A server that is reached over TLS; a connection to Postgres requests TLS first."""

    name: str
    host: str
    port: int
    postgres: bool = False

    def __str__(self) -> str:
        return f"{self.name} at {self.host}:{self.port}"


def servers_of_postgres(url: str) -> list[TlsServer]:
    given = conninfo_to_dict(url)
    hosts = str(given.get("host") or "").split(",")
    ports = str(given.get("port") or "5432").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return [
        TlsServer("Postgres", host.strip("[]"), int(port or 5432), postgres=True)
        for host, port in zip(hosts, ports, strict=False)
        if host and not host.startswith("/")
    ]


def servers_of_kafka(servers: str) -> list[TlsServer]:
    parts = [server.strip().rpartition(":") for server in servers.split(",")]
    return [TlsServer("Kafka", host.strip("[]"), int(port)) for host, _, port in parts]


def explained(text: str, url: str) -> str:
    """Return the text of an error of libpq; if it is about a certificate, the fault of the certificate is added."""
    why = fault_of(servers_of_postgres(url), conninfo_to_dict(url).get("sslrootcert")) if UNVERIFIED in text else None
    return f"{text} ({why})" if why else text


def fault_of(servers: Sequence[TlsServer], ca: object) -> str | None:
    """
    Return the fault of a certificate; None if no fault is found within the limit.

    The caller may be in the middle of its work, so all servers are checked at once, each in a thread that may outlive the limit.
    """
    faults: SimpleQueue[str | None] = SimpleQueue()

    def look(server: TlsServer) -> None:
        faults.put(fault_of_certificate(server, str(ca) if ca else None))

    until = time.monotonic() + _LIMIT
    for server in servers:
        threading.Thread(target=look, args=(server,), name=f"look at {server}", daemon=True).start()
    for _ in servers:
        try:
            if fault := faults.get(timeout=max(0.0, until - time.monotonic())):
                return fault
        except Empty:
            break
    return None


def fault_of_certificate(server: TlsServer, ca: str | None) -> str | None:
    """Return OpenSSL's words for the fault of the server's certificate; None if there is none, or the server does not answer."""
    try:
        connected(server, ssl.create_default_context(cafile=None if ca == "system" else ca)).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        return None
    return None


def connected(server: TlsServer, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a connection whose handshake is done. Raises OSError; ssl.SSLError is one."""
    with ExitStack() as closing:
        connection = closing.enter_context(socket.create_connection((server.host, server.port), timeout=_LIMIT))
        if server.postgres:
            connection.sendall(_SSL_REQUEST)
            connection.recv(1)  # without TLS the handshake fails
        secure = context.wrap_socket(connection, server_hostname=server.host)
        closing.pop_all()
        return secure
