"""The runtime configuration: the values in force, their history, and changes with a preview."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Meta
from psycopg import AsyncConnection

from console.listing import Found, list_page
from console.middleware import form_fields
from console.pages import SESSION, Screen, page
from gateway.answers import by_id
from gateway.commands.config import ChangeConfig, HistoryQuery, change_key, check
from gateway.errors import GatewayError, Reason
from gateway.keys import CALL, SENDERS
from gateway.masking import masked
from gateway.parameters import parse_query
from gateway.postgres import reading
from projections import config
from projections.config_keys import KEYS, Key, is_read, is_usable, key_of
from schemas.numbers import INT64_MAX
from schemas.text import ConfigKey

_SHOWN: Final = 500
"""The maximum number of keys on the page; the HTTP API lists more."""


class Setting(NamedTuple):
    """A key as the page shows it; `value` is its JSON, empty if the default is in force."""

    key: str
    value: str
    version: int
    updated_at: datetime | None
    about: Key | None
    ignored: bool


class ChangeForm(msgspec.Struct, frozen=True, kw_only=True):
    """A change that a form requests."""

    key: ConfigKey
    value: Annotated[str, Meta(max_length=65_536)] | None = None  #: JSON, or a plain text; absent for the default.
    default: Literal["yes"] | None = None  #: Restore the default and ignore `value`.
    version: Annotated[int, Meta(ge=0, le=INT64_MAX)] | None = None  #: The version that was shown.


async def configuration(request: web.Request) -> web.Response:
    """Show every key that a process reads, and all other keys that were ever set."""
    async with reading(request) as connection:
        entries = await config.read_all(connection)
    settings = [_setting(request, entry) for entry in entries[:_SHOWN]]
    unset = [Setting(key.name, "", 0, None, key, ignored=False) for key in _unset({entry.key for entry in entries})]
    choices = sorted({name for key in KEYS for name in _names(key, request.app[SENDERS].partners)})
    return page(
        request,
        "config.html",
        settings=[*settings, *unset],
        more=len(entries) > _SHOWN,
        shown=_SHOWN,
        choices=choices,
        wanted=request.query.get("key", ""),
    )


async def history(request: web.Request) -> web.Response:
    """Show the changes of one key or of all, newest first."""

    async def read(connection: AsyncConnection, query: HistoryQuery) -> Found:
        first, before = query.ids(datetime.now(UTC))
        found, more = await config.read_history(connection, query.key, first=first, before=before, limit=query.limit)
        return Found([(change, _text(request, change.value)) for change in found], by_id(found[-1]) if more else None)

    return await list_page(request, "config_history.html", HistoryQuery, read)


async def show_change(request: web.Request) -> web.Response:
    """Show the effect of a change without making it."""
    asked, change = await _form_of(request)
    async with reading(request) as connection:
        current = await config.read(connection, asked.key)
    now = _text(request, current.value) if current else ""
    return page(
        request,
        "_config_preview.html",
        asked=asked,
        value=msgspec.json.encode(change.value).decode(),
        now="" if now == "null" else now,
        version=current.version if current else 0,
        about=key_of(asked.key),
    )


async def change(request: web.Request) -> web.Response:
    """Set the key if it still has the version that the page showed."""
    asked, wanted = await _form_of(request)
    entry = await change_key(request, wanted, request[CALL].id, request[SESSION].holder.secret_id)
    value = "" if entry.value is None else msgspec.json.encode(entry.value).decode()
    return page(request, "_config_set.html", key=asked.key, value=value, version=entry.version)


async def _form_of(request: web.Request) -> tuple[ChangeForm, ChangeConfig]:
    """Return the fields of the form, and the change that they request. Raises GatewayError if it cannot be made."""
    asked = parse_query(ChangeForm, await form_fields(request))
    if asked.value is None and asked.default is None:
        raise GatewayError(Reason.FIELD_INVALID, "the value is empty; write an empty text as two quotation marks")
    value = None if asked.default else _value_of(asked.value or "")
    wanted = ChangeConfig(key=asked.key, value=value, expected_version=asked.version)
    check(wanted, request.app[SENDERS].partners)
    return asked, wanted


def _value_of(text: str) -> Any:
    """Decode JSON, or return a plain text: `200/second` needs no quotation marks."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text


def _setting(request: web.Request, entry: config.ConfigEntry) -> Setting:
    ignored = is_read(entry.key) and not is_usable(entry.key, config.decoded(bytes(entry.value)))
    value = _text(request, entry.value)
    return Setting(
        entry.key, "" if value == "null" else value, entry.version, entry.updated_at, key_of(entry.key), ignored=ignored
    )


def _text(request: web.Request, value: msgspec.Raw) -> str:
    text = bytes(value).decode()
    return text if request[SESSION].changes else str(masked(text, frozenset()))


def _unset(known: set[str]) -> Iterator[Key]:
    """Yield the keys without `{ID}` in their names that were never set."""
    yield from (key for key in KEYS if "{ID}" not in key.name and key.name not in known)


def _names(key: Key, partners: Collection[str]) -> list[str]:
    return [key.name.replace("{ID}", partner) for partner in partners] if "{ID}" in key.name else [key.name]


SCREEN: Final = Screen(
    "",
    "/console/settings/config",
    (
        web.get("/settings/config", configuration, name="console_config"),
        web.get("/settings/config/history", history, name="console_config_history"),
        web.post("/settings/config/preview", show_change, name="console_config_preview"),
        web.post("/settings/config", change, name="console_config_change"),
    ),
)
