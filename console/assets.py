"""The files that pages load: kept in memory, with their digest in the address, so that browsers can cache them forever."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from aiohttp import web

_KINDS: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "txt": "text/plain"}
_FOREVER: Final = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file below `static`."""

    body: bytes
    digest: str
    kind: str


@cache
def _assets() -> dict[str, Asset]:
    folder = files("console").joinpath("static")
    drawing = files("topology").joinpath("templates")
    found = [*folder.iterdir(), *folder.joinpath("vendor").iterdir(), *(drawing / name for name in ("graph.css", "graph.js"))]
    return {each.name: _asset(each.name, each.read_bytes()) for each in found if each.name.rpartition(".")[2] in _KINDS}


def _asset(name: str, body: bytes) -> Asset:
    return Asset(body, hashlib.sha256(body).hexdigest()[:16], _KINDS[name.rpartition(".")[2]])


def address_of(name: str) -> str:
    """Return the address of a file, which changes with its contents."""
    return f"/console/static/{_assets()[name].digest}/{name}"


async def serve_asset(request: web.Request) -> web.Response:
    """Serve a file; it may be cached only if the digest in the address is its own, and not that of another release."""
    asset = _assets().get(request.match_info["name"])
    if asset is None:
        raise web.HTTPNotFound
    keep = _FOREVER if request.match_info["digest"] == asset.digest else "no-cache"
    return web.Response(body=asset.body, content_type=asset.kind, charset="utf-8", headers={"Cache-Control": keep})
