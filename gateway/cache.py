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
from gateway.postgres import command_transaction
from outbox.append import event_of
from projections.config import Config
from projections.config import read as read_config
from schemas.cache import InvalidateCache

SOURCE: Final = "/internal/cache"
ALLOW_ALL: Final = "cache.allow_all"
"""The key of the runtime configuration that lets a pattern of wildcards alone pass, or forbids it again."""

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
    check(command)
    if is_too_broad(command) and not await _may_remove_all(request):
        raise GatewayError(Reason.PATTERN_TOO_BROAD, "a pattern of wildcards alone would remove everything")
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


def check(command: Invalidate) -> None:
    """Raises GatewayError `field_invalid` where nothing is named."""
    if not command.keys and not command.patterns:
        raise GatewayError(Reason.FIELD_INVALID, "neither `keys` nor `patterns` names anything")


def is_too_broad(command: Invalidate) -> bool:
    """Whether a pattern names no character that a key must have."""
    return any(not _WILD.sub("", pattern) for pattern in command.patterns)


async def _may_remove_all(request: web.Request) -> bool:
    """As the runtime configuration says at this moment, else the settings; so rarely asked that it is read each time."""
    async with command_transaction(request) as connection:
        entry = await read_config(connection, ALLOW_ALL)
    return Config({ALLOW_ALL: entry.value} if entry else {}).get(ALLOW_ALL, request.app[CACHE_ALLOW_ALL])
