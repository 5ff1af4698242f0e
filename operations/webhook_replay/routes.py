"""The routes that preview, begin, show and cancel replays of webhooks."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway import bodies
from gateway.answers import answer, answer_page, id_in_path, require
from gateway.commands.acceptance import command_id
from gateway.errors import GatewayError, Reason, refusing
from gateway.keys import CALLER, RECORDED
from gateway.paging import Limited, Page, cursor_of, up_to
from gateway.parameters import query_of
from gateway.postgres import reading, transaction
from operations.errors import OperationError
from operations.webhook_replay import jobs
from operations.webhook_replay.filters import MATCHED_MAX, ReplayWebhooks
from operations.webhook_replay.jobs import Item, ItemState, Replay
from operations.webhook_replay.loop import Replays
from operations.webhook_replay.preview import preview
from runtime.ids import first_id_of

REPLAYS: Final = web.AppKey("replays", Replays)

_NOUN: Final = "replay"
_ABSENT: Final = "no replay has this id, or it is past retention"


class ReplayQuery(Limited, frozen=True):
    """The page of replays to show."""


class ItemsQuery(Limited, frozen=True, kw_only=True):
    """The page of deliveries of a replay to show."""

    state: Annotated[ItemState, Meta(description="Only deliveries in this state.")] | None = None

    @property
    def after(self) -> int:
        """The number of the last item of the previous page. Raises GatewayError `query_malformed`."""
        cursor = self.cursor or "0"
        if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= len(str(MATCHED_MAX))):
            raise GatewayError(Reason.QUERY_MALFORMED, "cursor is not one that this list returned")
        return int(cursor)


class ReplaysBegun(msgspec.Struct, frozen=True, rename="camel"):
    """The replay is durable; poll `GET /v1/admin/replays/{replayId}` for its progress."""

    replay_id: UUID  #: The id of the replay.
    matched: int  #: Number of deliveries that match.


class ReplaysPage(Page[Replay], frozen=True):
    """One page of the replays, newest first."""


class Items(Page[Item], frozen=True):
    """One page of the deliveries, in their order."""


async def begin(request: web.Request) -> web.Response:
    """
    Replay deliveries.

    Accepted and ignored deliveries are sent to their workers again; rejected ones are verified by the current secrets. A
    delivery that has had its effects changes nothing. With `dryRun` the deliveries are only counted.
    """
    asked = await bodies.read(request, ReplayWebhooks)
    with refusing(OperationError):
        async with transaction(request) as connection:
            if asked.dry_run:
                return answer(await preview(connection, asked.filters, request.app[REPLAYS].sources))
            replay_id, caller = command_id(request), request[CALLER].secret_id
            matched = await jobs.create(connection, replay_id, asked, caller)
            request[RECORDED] = True
    request.app[REPLAYS].wake()
    return answer(ReplaysBegun(replay_id, matched), HTTPStatus.ACCEPTED)


async def replay(request: web.Request) -> web.Response:
    """
    Read a replay and its progress.

    A replay ends as `done` or `cancelled`, or as `failed` if a part of it failed.
    """
    asked = id_in_path(request, _NOUN)
    async with transaction(request) as connection:
        return answer(require(await jobs.read(connection, asked), _ABSENT))


async def all_replays(request: web.Request) -> web.Response:
    """
    List the replays, newest first.

    Replays of the HTTP API and of the command line are both included.
    """
    query = query_of(request, ReplayQuery)
    async with reading(request) as connection:
        found = await jobs.read_all(connection, query.last or first_id_of(up_to(datetime.now(UTC))), query.limit + 1)
    return answer_page(ReplaysPage, found, query.limit, lambda item: cursor_of(item.replay_id))


async def items(request: web.Request) -> web.Response:
    """
    List the deliveries of a replay, in their order.

    `state` narrows the list.
    """
    asked, query = id_in_path(request, _NOUN), query_of(request, ItemsQuery)
    async with reading(request) as connection:
        require(await jobs.read(connection, asked), _ABSENT)
        found = await jobs.items(connection, asked, state=query.state, after=query.after, limit=query.limit + 1)
    return answer_page(Items, found, query.limit, lambda item: str(item.n))


async def cancel(request: web.Request) -> web.Response:
    """
    Cancel a replay.

    Deliveries that were already sent are still handled; the others are not sent.
    """
    return answer(await cancelled(request, id_in_path(request, _NOUN)))


async def cancelled(request: web.Request, replay_id: UUID) -> Replay:
    """Cancel the replay and return it. Raises GatewayError `not_found`, `replay_ended`."""
    async with transaction(request) as connection:
        done = await jobs.cancel(connection, replay_id)
        found = require(await jobs.read(connection, replay_id), _ABSENT)
    if not done and found.state != "cancelled":
        raise GatewayError(Reason.REPLAY_ENDED, f"this replay has ended as {found.state}")
    return found
