"""The command that removes keys of the cache that are out of date."""

from typing import Annotated, ClassVar, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway import bodies
from gateway.commands.acceptance import Command, answer_task, submit_and_wait
from gateway.errors import GatewayError, Reason
from gateway.keys import CACHE_ALLOW_ALL
from gateway.postgres import transaction
from projections.config import in_force
from schemas.operations import InvalidateCache
from schemas.rules import Json, never

SOURCE: Final = "/internal/cache"
ALLOW_ALL: Final = "cache.allow_all"
"""The key of the runtime configuration that allows or forbids patterns which begin with a wildcard."""

_WILD: Final = ("*", "?", "[")  # characters that Redis does not match literally
_STARS_MAX: Final = 5  # each makes a match slower, and servers before Redis 7.0.9 try every way to split a key among them

Key = Annotated[str, Meta(min_length=1, max_length=1024)]
Pattern = Annotated[Key, Meta(extra_json_schema={"pattern": rf"^[^*]*(?:\*[^*]*){{0,{_STARS_MAX}}}\Z"})]


class Invalidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Keys and glob patterns to remove from the cache; at least one is required.

    Both are written without the configured prefix of the cache. A pattern has to begin with a literal character, unless
    `cache.allow_all` of the runtime configuration is true.
    """

    keys: Annotated[list[Key], Meta(max_length=1000)] = []  #: Exact keys.
    patterns: Annotated[list[Pattern], Meta(max_length=20)] = []  #: Glob patterns of Redis: `*`, `?` and `[…]`.

    rules: ClassVar[Json] = never(
        {
            "type": "object",
            "properties": {"keys": {"type": "array", "maxItems": 0}, "patterns": {"type": "array", "maxItems": 0}},
        }
    )


class Invalidated(msgspec.Struct, frozen=True):
    """The keys were removed."""

    invalidated: int  #: Number of keys that existed and were removed.


async def invalidate(request: web.Request) -> web.Response:
    """
    Remove keys from the cache.

    The gateway waits up to `COMMAND_WAIT` (5 s) for the cache worker. If the worker takes longer or fails, the answer is
    202 and the task reports the result.
    """
    command = await bodies.read(request, Invalidate)
    check(command)
    if is_too_broad(command) and not await _may_remove_all(request):
        raise GatewayError(Reason.PATTERN_TOO_BROAD, "a pattern has to begin with a character that its keys begin with")
    data = InvalidateCache(keys=command.keys, patterns=command.patterns)
    return answer_task(*await submit_and_wait(request, Command("cache.invalidate", data, SOURCE)), Invalidated)


def check(command: Invalidate) -> None:
    """Raises GatewayError `field_invalid` if there is no key and no pattern, or if a pattern would cost the server too much."""
    if not command.keys and not command.patterns:
        raise GatewayError(Reason.FIELD_INVALID, "both `keys` and `patterns` are empty")
    if any(pattern.count("*") > _STARS_MAX for pattern in command.patterns):
        raise GatewayError(Reason.FIELD_INVALID, f"a pattern has more than {_STARS_MAX} `*`")


def is_too_broad(command: Invalidate) -> bool:
    """
    True if a pattern does not begin with a literal character.

    Only its beginning is checked. However Redis interprets the rest (a class that is not closed, an escape within one), only keys
    with the same beginning can match.
    """
    return any(pattern.startswith(_WILD) for pattern in command.patterns)


async def _may_remove_all(request: web.Request) -> bool:
    """Read `cache.allow_all` from the runtime configuration, else from the settings; it is read too rarely to be cached."""
    async with transaction(request) as connection:
        return await in_force(connection, ALLOW_ALL, request.app[CACHE_ALLOW_ALL])
