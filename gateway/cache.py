"""What our own services say about the cache: that keys are out of date."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from aiohttp import web

from gateway import bodies
from gateway.commands import accepted, record, settled
from gateway.errors import GatewayError, Reason
from gateway.keys import CACHE_ALLOW_ALL, CALL
from outbox.append import event_of
from schemas.cache import InvalidateCache

SOURCE: Final = "/internal/cache"

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]

# Wildcards, and classes of characters: what a glob pattern consists of besides literal characters.
_WILD: Final = re.compile(r"\[[^\]]*\]|[*?]")


class Invalidate(msgspec.Struct, frozen=True):
    """Exact keys and glob patterns, as the caller knows them: without the prefix of the cache."""

    keys: Annotated[list[Key], msgspec.Meta(max_length=1000)] = []
    patterns: Annotated[list[Key], msgspec.Meta(max_length=20)] = []


class Invalidated(msgspec.Struct, frozen=True):
    """How many keys were really there and are gone."""

    invalidated: int


async def invalidate(request: web.Request) -> web.Response:
    """Have the keys removed and say how many really were; 202 where that takes too long or has failed."""
    command = await bodies.read(request, Invalidate)
    check(command, allow_all=request.app[CACHE_ALLOW_ALL])
    call = request[CALL]
    event = event_of(
        InvalidateCache(keys=command.keys, patterns=command.patterns),
        aggregate_id=str(call.id),  # no order among invalidations, so each goes to any partition
        source=SOURCE,
        occurred_at=datetime.now(UTC),
        trace=call.trace,
    )
    task_id = await record(request, "cache.invalidate", event)
    task = await settled(request, task_id)
    if task is None or task.result is None:
        return accepted(task_id)
    return web.json_response(body=msgspec.json.encode(msgspec.convert(task.result, Invalidated)))


def check(command: Invalidate, *, allow_all: bool) -> None:
    """Raises GatewayError: `field_invalid` where nothing is named, `pattern_too_broad` where a pattern names no character."""
    if not command.keys and not command.patterns:
        raise GatewayError(Reason.FIELD_INVALID, "neither `keys` nor `patterns` names anything")
    if not allow_all and any(not _WILD.sub("", pattern) for pattern in command.patterns):
        raise GatewayError(Reason.PATTERN_TOO_BROAD, "a pattern of wildcards alone would remove everything")
