"""Whether something answers over HTTP."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit


def answers(url: str, *, timeout: float = 1.0) -> bool:
    """Whether a GET of this http URL gives 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
