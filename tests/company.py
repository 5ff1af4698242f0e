"""A company's network: a private CA, a server with a certificate of it, and a proxy that requires a user and password."""

from __future__ import annotations

import base64
import select
import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trustme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME: Final = "maven.company.test"
"""No DNS has this name: only the proxy can connect to it."""


class Answer(NamedTuple):
    """The answer to a request; `length` is the Content-Length to send if it must be wrong."""

    status: int = 200
    body: bytes = b""
    length: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Web:
    """A server over HTTPS under `localhost`, `127.0.0.1` and NAME."""

    def __init__(self) -> None:
        self.port = 0
        self.answer: Callable[[BaseHTTPRequestHandler], Answer] = lambda _: Answer(404)
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections = 0

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"


class Proxy(NamedTuple):
    """A CONNECT proxy that requires `user` and `s3cret:word`; `wanted` lists the requested addresses."""

    port: int
    wanted: list[str]

    @property
    def url(self) -> str:
        return f"http://user:s3cret%3Aword@127.0.0.1:{self.port}"


class Company(NamedTuple):
    """The whole network; `ca` is the file of the CA's certificate."""

    ca: Path
    web: Web
    proxy: Proxy


@contextmanager
def company(folder: Path) -> Iterator[Company]:
    """Runs until the end of the block, on free ports of the loopback."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "company-ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1", NAME).configure_cert(context)
    with ExitStack() as stops:
        web = stops.enter_context(_web(context))
        yield Company(folder / "company-ca.pem", web, stops.enter_context(_proxy(web)))


@contextmanager
def _web(context: ssl.SSLContext) -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            web.requests.append((self.command, self.path, dict(self.headers)))
            answer = web.answer(self)
            self.send_response(answer.status)
            for name, text in answer.headers:
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_GET  # noqa: N815  # the base class's name

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        def get_request(self) -> tuple[Any, Any]:
            raw, peer = super().get_request()
            web.connections += 1
            return context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False), peer

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that does not trust us hangs up."""

    with _serving(Server(("127.0.0.1", 0), Handler)) as web.port:
        yield web


@contextmanager
def _proxy(web: Web) -> Iterator[Proxy]:
    wanted: list[str] = []
    expected = "Basic " + base64.b64encode(b"user:s3cret:word").decode()

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            wanted.append(self.path)
            if self.headers.get("Proxy-Authorization") != expected:
                self.send_error(407, "Proxy Authentication Required")
                return
            with socket.create_connection(("127.0.0.1", web.port)) as upstream:
                self.send_response(200)
                self.end_headers()
                with suppress(ConnectionError):  # a client that does not trust the server hangs up
                    _carry(self.connection, upstream)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
            """Log nothing."""

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield Proxy(port, wanted)


@contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[int]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def _carry(one: socket.socket, other: socket.socket) -> None:
    """Forward bytes both ways until one side closes."""
    pairs = {one: other, other: one}
    while True:
        for ready in select.select([*pairs], [], [])[0]:
            data = ready.recv(1 << 16)
            if not data:
                return
            pairs[ready].sendall(data)
