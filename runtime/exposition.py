"""A small listener for a process that has no web server of its own: `/metrics`, `/health/live`, `/health/ready`."""

import threading
from collections.abc import Callable, Iterable
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from prometheus_client import make_wsgi_app

Readiness = Callable[[], dict[str, Any] | None]
"""What to show when ready, or None."""

_JSON: Final = [("Content-Type", "application/json")]


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        """Say nothing: scrapes and probes are no news."""


class Exposition:
    """The listener, in a thread of its own, between `start` and `stop`."""

    def __init__(self, host: str, port: int, readiness: Readiness) -> None:
        self._readiness = readiness
        self._metrics = make_wsgi_app()
        self._server: WSGIServer = make_server(host, port, self._answer, handler_class=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, name="exposition", daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                answer: Iterable[bytes] = self._metrics(environ, start_response)
                return answer
            case "/health/live":
                start_response("200 OK", _JSON)
                return [b'{"live":true}']
            case "/health/ready":
                state = self._readiness()
                start_response("200 OK" if state is not None else "503 Service Unavailable", _JSON)
                return [msgspec.json.encode({"ready": state is not None} | (state or {}))]
            case _:
                start_response("404 Not Found", _JSON)
                return [b'{"reason":"not_found"}']
