"""Replaying deliveries from wherever they are shown: what would happen first, then the replay itself, and its progress."""

from typing import Final

from aiohttp import web

from console.door import form_fields
from console.pages import SESSION, Screen, page
from gateway.answers import known
from gateway.errors import refusing
from gateway.keys import CALL
from gateway.paging import id_of
from gateway.parameters import parse_query
from gateway.postgres import reading, transaction
from operations.errors import OperationError
from operations.webhook_replay import jobs
from operations.webhook_replay.filters import ReplayWebhooks
from operations.webhook_replay.preview import preview
from operations.webhook_replay.routes import REPLAYS


async def show_preview(request: web.Request) -> web.Response:
    """Show what a replay would do; nothing changes."""
    given, asked = await _asked(request)
    with refusing(OperationError):
        asked.filters.check()
        async with transaction(request) as connection:
            found = await preview(connection, asked.filters, request.app[REPLAYS].sources)
    return page(request, "_replay_preview.html", preview=found, given=given)


async def begin(request: web.Request) -> web.Response:
    """Begin the replay that was shown, and show its progress."""
    _, asked = await _asked(request)
    replay_id = request[CALL].id
    with refusing(OperationError):
        async with transaction(request) as connection:
            await jobs.create(connection, replay_id, asked, request[SESSION].holder.secret_id)
            found = await jobs.read(connection, replay_id)
    request.app[REPLAYS].wake()
    return page(request, "_replay.html", replay=found)


async def progress(request: web.Request) -> web.Response:
    """Show the progress of a replay."""
    asked = id_of(request.match_info["id"], "replay")
    async with reading(request) as connection:
        return page(request, "_replay.html", replay=known(await jobs.read(connection, asked), "no replay has this id"))


async def _asked(request: web.Request) -> tuple[list[tuple[str, str]], ReplayWebhooks]:
    """The fields of the form, and the replay that they ask for. Raises GatewayError `query_malformed`."""
    fields = await form_fields(request)
    return fields, parse_query(ReplayWebhooks, fields)


SCREEN: Final = Screen(
    "",
    "/console/replay",
    (
        web.post("/replay/preview", show_preview, name="console_replay_preview"),
        web.post("/replay", begin, name="console_replay_begin"),
        web.get("/replay/{id}/progress", progress, name="console_replay_progress"),
    ),
)
