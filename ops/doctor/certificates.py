"""The reason for which a server's certificate is refused, asked of the server itself: some clients do not tell it."""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Final

_LIMIT: Final = 5.0  # seconds
_SSL_REQUEST: Final = struct.pack("!II", 8, 80_877_103)
"""Sent to Postgres before a handshake: https://www.postgresql.org/docs/current/protocol-message-formats.html."""


def fault_of_certificate(host: str, port: int, ca: str | None, *, postgres: bool = False) -> str | None:
    """Return OpenSSL's words for the fault of the server's certificate; None if it has none, or does not answer."""
    try:
        context = ssl.create_default_context(cafile=None if ca == "system" else ca)
        with socket.create_connection((host.strip("[]"), port), timeout=_LIMIT) as connection:
            if postgres:
                connection.sendall(_SSL_REQUEST)
                if connection.recv(1) != b"S":
                    return None
            context.wrap_socket(connection, server_hostname=host.strip("[]")).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        return None
    return None
