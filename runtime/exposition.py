"""A small listener for a process without a web server: `/metrics`, `/health/live`, `/health/ready`."""

import socket
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from runtime.errors import Failure, Reason
from runtime.heartbeat import Heartbeat, liveness

Readiness = Callable[[], dict[str, Any]]
"""The answer of `/health/ready`; it is 503 if `ready` is false."""

_THREADS: Final = 32
_JSON: Final = "application/json"


class Exposition:
    """
    The listener, in its own thread, between `start` and `stop`.

    Raises Failure `cannot_listen`.
    """

    def __init__(self, host: str, port: int, readiness: Readiness, loops: Sequence[Heartbeat] = ()) -> None:
        handler = type("Handler", (_Handler,), {"readiness": staticmethod(readiness), "loops": tuple(loops)})
        try:
            self._server = _server_at(host, port, handler)
        except OSError as error:
            raise Failure(Reason.CANNOT_LISTEN, f"no process can listen on {host}, port {port}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="exposition", daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _server_at(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """Listen on an address of the host, on one of IPv6 only if it has no other. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A scrape of 127.0.0.1 has to reach a process at `localhost`, whose first address is ::1 on many machines.
    family = min((each[0] for each in found), key=lambda each: each != socket.AF_INET)

    class Server(_Server):
        address_family = family

    return Server((host, port), handler)


class _Server(ThreadingHTTPServer):
    """A server with one thread per connection; a connection beyond the limit of threads is closed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._room = threading.Semaphore(_THREADS)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        del request, client_address
        return self._room.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    timeout = 5.0  # seconds without a byte from the client
    readiness: Readiness
    loops: Sequence[Heartbeat]

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest())
            case "/health/live":
                state = liveness(self.loops)
                self._answer(
                    HTTPStatus.OK if state["live"] else HTTPStatus.SERVICE_UNAVAILABLE, _JSON, msgspec.json.encode(state)
                )
            case "/health/ready":
                answer = {"ready": True} | self.readiness()
                status = HTTPStatus.OK if answer["ready"] else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, _JSON, msgspec.json.encode(answer))
            case _:
                self._answer(HTTPStatus.NOT_FOUND, _JSON, b'{"reason":"not_found"}')

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        """Log nothing: scrapes and probes are routine."""
