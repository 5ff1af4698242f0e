"""A probe over HTTP."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit


def answers(url: str, *, timeout: float = 1.0) -> bool:
    """True if a GET of this http URL is answered 200."""
    return status_of(url, timeout=timeout) == http.HTTPStatus.OK


def status_of(url: str, *, timeout: float = 1.0) -> int | None:
    """The status that a GET of this http URL gives, or None if nothing answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
