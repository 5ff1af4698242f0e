"""The loggable parts of a path: the route's pattern and short ids, never the path itself, since it may hold a token."""

import re
from typing import Final

from aiohttp import web

from schemas.providers import providers

NO_ROUTE: Final = "(no such route)"
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)
_PREFIXES: Final = "|".join(dict.fromkeys(prefix for provider in providers() for prefix in provider.id_prefixes))
_OF_PROVIDER: Final = re.compile(rf"((?:{_PREFIXES})_\w{{4}})\w*", re.ASCII)
"""An id of a provider's, and as much of it as finds its row."""


def pattern_of(request: web.Request) -> str:
    """The path as its route declares it."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else NO_ROUTE


def ids_of(request: web.Request) -> dict[str, str]:
    """The parts of a path that are certainly ids: a UUID in whole, and the beginning of a provider's."""
    return {name: short for name, text in request.match_info.items() if (short := short_id(text))}


def short_id(text: str) -> str | None:
    if _UUID.fullmatch(text):
        return text
    found = _OF_PROVIDER.fullmatch(text)
    return f"{found[1]}…" if found else None
