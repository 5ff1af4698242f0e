"""
A proxy with TLS and authentication for an Elasticsearch node: `elasticsearch_proxy.py PORT SERVER_PORT CERTIFICATE PASSWORDS`.

The parts of Elasticsearch on Maven do not include its security. A request passes with one of the values of `Authorization` in the
file PASSWORDS, which is JSON: a user with a password, or an API key. Others get the answer of a secured node.
"""

from __future__ import annotations

import hmac
import json
import ssl
import sys
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

_HOST: Final = "127.0.0.1"
_BODY_MAX: Final = 128 * 1024 * 1024
_NOT_PASSED: Final = frozenset({"Transfer-Encoding", "Content-Length", "Connection", "Content-Encoding", "Authorization", "Host"})
_PRODUCT: Final = {"X-elastic-product": "Elasticsearch", "WWW-Authenticate": "ApiKey"}
_REFUSED: Final[dict[str, Any]] = {
    "error": {"type": "security_exception", "reason": "missing or wrong authentication credentials for REST request"},
    "status": 401,
}


def application(server_port: int, admitted: list[str]) -> web.Application:
    """Make the proxy: one route for everything."""
    app = web.Application(client_max_size=_BODY_MAX)
    node = f"http://{_HOST}:{server_port}"

    async def session(app: web.Application) -> Any:
        async with ClientSession(
            auto_decompress=True, timeout=ClientTimeout(total=None), connector=TCPConnector(limit=0)
        ) as http:
            app["http"] = http
            yield

    async def pass_on(request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode()
        if not any(hmac.compare_digest(given, each.encode()) for each in admitted):
            return web.json_response(_REFUSED, status=401, headers=_PRODUCT)
        headers = {name: text for name, text in request.headers.items() if name.title() not in _NOT_PASSED}
        async with request.app["http"].request(
            request.method, f"{node}{request.path_qs}", data=await request.read(), headers=headers
        ) as answer:
            back = {name: text for name, text in answer.headers.items() if name.title() not in _NOT_PASSED}
            return web.Response(status=answer.status, body=await answer.read(), headers=back)

    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", pass_on)
    return app


def main() -> None:
    port, server_port, certificate, passwords = sys.argv[1:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    app = application(int(server_port), json.loads(Path(passwords).read_text()))
    web.run_app(app, host=_HOST, port=int(port), ssl_context=context, print=None, access_log=None)


if __name__ == "__main__":
    main()
