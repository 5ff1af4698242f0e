"""Replays of deliveries: the preview of a replay, its start, progress and end, and the list of earlier ones."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, get_args

import msgspec
from aiohttp import web

from console.filters import filled
from console.links import page_of
from console.middleware import form_fields, read_form
from console.pages import SESSION, Screen, page
from gateway.answers import require
from gateway.errors import refusing
from gateway.keys import CALL
from gateway.paging import cursor_of, id_of, up_to
from gateway.parameters import parse_query
from gateway.postgres import reading, transaction
from operations.errors import OperationError
from operations.topology.routes import SURVEY
from operations.webhook_replay import jobs
from operations.webhook_replay.filters import RATE_DEFAULT, Filters, Outcome, ReplayWebhooks
from operations.webhook_replay.preview import preview
from operations.webhook_replay.routes import REPLAYS, ItemsQuery, ReplayQuery, cancelled
from runtime.ids import first_id_of
from schemas.providers import SOURCES

_ABSENT: Final = "no replay has this id"
_NAMED_MAX: Final = 3
"""The maximum number of ids or types of a filter that are listed; if there are more, only their number is shown."""
_LISTS: Final = ("types", "ids")
_REPLAY_ID: Final = "replay_id"
"""The field of the id that the preview has made for its replay: a form that is sent twice begins one replay."""


async def replays(request: web.Request) -> web.Response:
    """Show the replays, newest first, and the form that begins one."""
    given = filled(request)
    query = parse_query(ReplayQuery, given.items())
    before = query.last or first_id_of(up_to(datetime.now(UTC)))
    async with reading(request) as connection:
        found = await jobs.jobs(connection, before, query.limit + 1)
    items = found[: query.limit]
    return page(
        request,
        "replays.html",
        replays=[(each, list(_filter_texts(each.filters))) for each in items],
        following=cursor_of(items[-1].id) if len(found) > query.limit else "",
        sources=SOURCES,
        outcomes=get_args(Outcome),
        rate=RATE_DEFAULT,
    )


async def show(request: web.Request) -> web.Response:
    """Show one replay, with the outcomes of its deliveries."""
    query = parse_query(ItemsQuery, filled(request).items())
    found = await _read(request)
    async with reading(request) as connection:
        items = await jobs.items(connection, found.replay_id, state=query.state, after=query.after, limit=query.limit + 1)
    shown = items[: query.limit]
    return page(
        request,
        "replay.html",
        replay=found,
        filters=list(_filter_texts(found.filters)),
        items=shown,
        state=query.state,
        states=get_args(jobs.ItemState),
        following=shown[-1].n if len(items) > query.limit else "",
        page_of=page_of,
        kafka=None,
    )


async def show_preview(request: web.Request) -> web.Response:
    """Show the effect of a replay without beginning it."""
    given, asked = _asked(await form_fields(request))
    with refusing(OperationError):
        asked.filters.check()
        async with transaction(request) as connection:
            found = await preview(connection, asked.filters, request.app[REPLAYS].sources)
    return page(request, "_replay_preview.html", preview=found, given=given, rate=asked.rate, replay_id=request[CALL].id)


async def begin(request: web.Request) -> web.Response:
    """Begin the replay that was shown, and show its progress; the same form again begins no second one."""
    fields = await form_fields(request)
    given = (await read_form(request)).get(_REPLAY_ID)
    replay_id = request[CALL].id if given is None else id_of(given, "replay")  # a preview of an older release has no such field
    _, asked = _asked((name, text) for name, text in fields if name != _REPLAY_ID)
    with refusing(OperationError):
        async with transaction(request) as connection:
            await jobs.create(connection, replay_id, asked, request[SESSION].holder.secret_id)
            found = await jobs.read(connection, replay_id)
    request.app[REPLAYS].wake()
    return page(request, "_replay.html", replay=found, kafka=None)


async def progress(request: web.Request) -> web.Response:
    """Show the progress of a replay, and while it runs, a notice if Kafka does not answer."""
    found = await _read(request)
    kafka = (await request.app[SURVEY].now()).kafka if found.state == "running" else None
    return page(request, "_replay.html", replay=found, kafka=kafka)


async def cancel(request: web.Request) -> web.Response:
    """Cancel a replay, and show its final state."""
    found = await cancelled(request, id_of(request.match_info["id"], "replay"))
    return page(request, "_replay.html", replay=found, kafka=None)


async def _read(request: web.Request) -> jobs.Replay:
    """Read the replay of the path. Raises GatewayError `not_found`."""
    asked = id_of(request.match_info["id"], "replay")
    async with reading(request) as connection:
        return require(await jobs.read(connection, asked), _ABSENT)


def _asked(form: Iterable[tuple[str, str]]) -> tuple[list[tuple[str, str]], ReplayWebhooks]:
    """Return the form's fields, one for each item of a list, and the requested replay. Raises GatewayError `query_malformed`."""
    fields = [(name, each) for name, text in form for each in (text.replace(",", " ").split() if name in _LISTS else [text])]
    return fields, parse_query(ReplayWebhooks, fields)


def _filter_texts(filters: Filters) -> Iterator[tuple[str, str]]:
    """Yield the names and values of the filters as text."""
    for name, value in msgspec.to_builtins(filters).items():
        if isinstance(value, list | tuple):
            yield name, ", ".join(value) if len(value) <= _NAMED_MAX else f"{len(value):,} of them"
        else:
            yield name, str(value)


SCREEN: Final = Screen(
    "Replays",
    "/console/replays",
    (
        web.get("/replays", replays, name="console_replays"),
        web.post("/replays", begin, name="console_replay_begin"),
        web.post("/replays/preview", show_preview, name="console_replay_preview"),
        web.get("/replays/{id}", show, name="console_replay"),
        web.get("/replays/{id}/progress", progress, name="console_replay_progress"),
        web.post("/replays/{id}/cancel", cancel, name="console_replay_cancel"),
    ),
)
