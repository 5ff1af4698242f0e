"""Runtime configuration: read by services, changed by operators."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway import bodies
from gateway.answers import answer, answer_page, by_id, require
from gateway.commands.acceptance import command_id
from gateway.errors import GatewayError, Reason, refusing
from gateway.keys import CALL, CALLER, SENDERS
from gateway.paging import Page, Paged
from gateway.parameters import query_of
from gateway.postgres import reading, transaction
from projections import config, config_keys
from projections.config_keys import KEY_FORM, KEYS
from projections.errors import ProjectionError
from schemas.numbers import INT64_MAX
from schemas.rules import Json, by_case
from schemas.text import ConfigKey, is_storable

_VALUE_BYTES: Final = 65_536
ABOUT: Final = "\n".join(
    (
        "Set a key of the runtime configuration.",
        "",
        "Processes apply the value within two seconds. They read these keys, which accept no other values:",
        "",
        *(f"- `{key.name}`: {key.bounds}. {key.about}" for key in KEYS),
        "",
        f"Every other key is yours, unless its first word is one of these, and holds up to {_VALUE_BYTES} bytes of JSON.",
    )
)


class ConfigQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Narrows the configuration."""

    key: Annotated[ConfigKey, Meta(description="The key to read; absent for all keys.")] | None = None


class HistoryQuery(Paged, frozen=True, kw_only=True):
    """Narrows the changes of the configuration."""

    key: Annotated[ConfigKey, Meta(description="Only changes of this key.")] | None = None


class ChangeConfig(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A new value for a key of the runtime configuration."""

    key: Annotated[ConfigKey, Meta(extra_json_schema={"published": {"pattern": KEY_FORM}})]  #: The key to set.
    value: Annotated[
        Any, Meta(extra_json_schema={"if": {"type": "string"}, "then": {"type": "string", "pattern": r"^[^\x00]*\Z"}})
    ]  #: The new value; null restores the default.
    expected_version: Annotated[int, Meta(ge=0, le=INT64_MAX)] | None = None
    """The version that the key must have, 0 for a key that was never set; absent to set it in any case."""

    rules: ClassVar[Json] = by_case(
        "key", (({"type": "string", "pattern": rf"^{each.form}\Z"}, {"value": each.schema}) for each in KEYS)
    )


class Changed(msgspec.Struct, frozen=True):
    """The key has its new value."""

    key: str  #: The key.
    value: Any  #: The new value.
    version: int  #: The key's version, counted from 1.


class Entries(msgspec.Struct, frozen=True):
    """Every key that was ever set."""

    items: list[config.ConfigEntry]  #: The keys with their values.


async def show(request: web.Request) -> web.Response:
    """
    Read the runtime configuration.

    With `key` the answer is that key; without it, all keys that were ever set.
    """
    key = query_of(request, ConfigQuery).key
    async with transaction(request) as connection:
        found = Entries(await config.read_all(connection)) if key is None else await config.read(connection, key)
    return answer(require(found, "this key was never set"))


class History(Page[config.Change], frozen=True):
    """One page of the changes, newest first."""


async def history(request: web.Request) -> web.Response:
    """
    List the changes of the runtime configuration, newest first.

    Every change is kept: the value, who set it and when. `key` narrows the list to one key.
    """
    query = query_of(request, HistoryQuery)
    first, before = query.ids(datetime.now(UTC))
    async with reading(request) as connection:
        items, more = await config.read_history(connection, query.key, first=first, before=before, limit=query.limit)
    return answer_page(History, items, query.limit, by_id, more=more)


async def change(request: web.Request) -> web.Response:
    """Set a key of the runtime configuration."""
    body = await bodies.read(request, ChangeConfig)
    check(body, request.app[SENDERS].partners)
    entry = await change_key(request, body, command_id(request), request[CALLER].secret_id)
    return answer(Changed(entry.key, entry.value, entry.version))


async def change_key(request: web.Request, body: ChangeConfig, change_id: UUID, by: str) -> config.ConfigEntry:
    """Make a change that has passed `check`. Raises GatewayError `version_stale`."""
    with refusing(ProjectionError):
        async with transaction(request) as connection:
            return await config.change(
                connection,
                body.key,
                body.value,
                expected=body.expected_version,
                change_id=change_id,
                by=by,
                trace=request[CALL].trace,
            )


def check(body: ChangeConfig, partners: Collection[str]) -> None:
    """
    Refuse a change that could not be stored or used.

    Raises GatewayError: `field_invalid`, `config_key_unknown`, or `config_value_invalid` naming the bounds.
    """
    if not is_storable(body.value):
        raise GatewayError(Reason.FIELD_INVALID, "a text in the value holds a NUL, which cannot be stored - at `$.value`")
    if len(msgspec.json.encode(body.value)) > _VALUE_BYTES:
        raise GatewayError(Reason.CONFIG_VALUE_INVALID, f"the value is longer than {_VALUE_BYTES} bytes")
    with refusing(ProjectionError):
        config_keys.check(body.key, body.value, partners)
