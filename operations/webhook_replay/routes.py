"""Replays of webhooks: asked for, looked at beforehand, followed and called off."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, ClassVar, Final, cast, get_args
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway import bodies
from gateway.errors import GatewayError, Reason
from gateway.keys import CALL, CALLER, RECORDED
from gateway.paging import LIMIT_DEFAULT, cursor_of, id_of, names_of, parse_page
from gateway.paging import Limit as PageLimit
from gateway.postgres import command_transaction
from gateway.route import Parameter
from operations.errors import OperationError
from operations.webhook_replay import jobs
from operations.webhook_replay.jobs import MATCHED_MAX, Filters, Item, ItemState, Outcome, Replay
from operations.webhook_replay.loop import Replays
from operations.webhook_replay.preview import preview
from schemas.providers import Mode
from schemas.rules import Json, never
from schemas.text import Cursor, Why, Word

REPLAYS: Final = web.AppKey("replays", Replays)

RATE_DEFAULT: Final = 100.0
RATE_MAX: Final = 1000.0
_IDS_MAX: Final = 1000

_LIMIT: Final = Parameter("limit", PageLimit, f"The maximum number of items; {LIMIT_DEFAULT} by default.")
_CURSOR: Final = Parameter("cursor", Cursor, "The `next` of the previous page; absent for the first page.")
PARAMETERS: Final = (_LIMIT, _CURSOR)
ITEM_PARAMETERS: Final = (Parameter("state", ItemState, "Only deliveries in this state."), _LIMIT, _CURSOR)

_NARROWING: Final = ("ids", "source", "types", "status", "mode", "account", "from", "to")
_UNKNOWN_OF_REJECTED: Final = ("types", "mode", "account")

Limit = Annotated[int, Meta(ge=1, le=MATCHED_MAX)]
Rate = Annotated[float, Meta(gt=0, le=RATE_MAX)]


class ReplayWebhooks(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """
    The deliveries to replay: those that match every filter; one besides `limit` is required.

    `from` has to be before `to`. `types`, `mode` and `account` are unknown of rejected deliveries.
    """

    ids: Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=_IDS_MAX)] | None = None  #: Ids of deliveries, up to 1000.
    source: Word | None = None  #: A provider, such as `stripe`, or `partner`.
    types: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=100)] | None = None  #: The provider's types of events.
    status: Outcome | None = None  #: The outcome of the delivery.
    mode: Mode | None = None  #: `live` or `test`, as the event states it.
    account: Word | None = None  #: The provider's account, as the event states it.
    since: datetime | None = msgspec.field(default=None, name="from")
    """The earliest time of arrival, included; UTC unless it has an offset."""
    until: datetime | None = msgspec.field(default=None, name="to")
    """The latest time of arrival, excluded; UTC unless it has an offset."""
    limit: Limit | None = None  #: The maximum number of deliveries; the oldest are taken.
    rate: Rate = RATE_DEFAULT  #: Deliveries per second, 100 by default.
    dry_run: bool = False  #: True to count the deliveries and send nothing.
    reason: Why | None = None  #: Why they are replayed; kept in the log.

    rules: ClassVar[Json] = never(
        {"type": "object", "properties": {name: {"type": "null"} for name in _NARROWING}},
        *(
            {
                "type": "object",
                "properties": {name: {"type": ["array", "string"]}, "status": {"const": "rejected"}},
                "required": [name, "status"],
            }
            for name in _UNKNOWN_OF_REJECTED
        ),
    )

    @property
    def filters(self) -> Filters:
        return Filters(
            ids=self.ids,
            source=self.source,
            types=self.types,
            status=self.status,
            mode=self.mode,
            account=self.account,
            since=_utc(self.since),
            until=_utc(self.until),
            limit=self.limit,
        )


class ReplaysBegun(msgspec.Struct, frozen=True, rename="camel"):
    """The replay is durable; poll `GET /v1/admin/replays/{replayId}` for its progress."""

    replay_id: UUID  #: The id of the replay.
    matched: int  #: Number of deliveries that match.


class ReplaysPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One page of the replays, newest first."""

    items: list[Replay]  #: The replays.
    next: str | None = None  #: The cursor of the following page; absent on the last page.


class Items(msgspec.Struct, frozen=True, omit_defaults=True):
    """One page of the deliveries, in their order."""

    items: list[Item]  #: The deliveries.
    next: str | None = None  #: The cursor of the following page; absent on the last page.


async def begin(request: web.Request) -> web.Response:
    """
    Replay deliveries.

    Accepted and ignored deliveries are sent to their workers again; rejected ones are verified by the current secrets. A
    delivery that has had its effects changes nothing. With `dryRun` the deliveries are only counted.
    """
    asked = await bodies.read(request, ReplayWebhooks)
    with _refusing():
        async with command_transaction(request) as connection:
            if asked.dry_run:
                found = await preview(connection, asked.filters, request.app[REPLAYS].sources)
                return web.json_response(body=msgspec.json.encode(found))
            replay_id, caller = request[CALL].id, request[CALLER].secret_id
            matched = await jobs.create(
                connection, replay_id, asked.filters, rate=asked.rate, requested_by=caller, reason=asked.reason
            )
            request[RECORDED] = True
    request.app[REPLAYS].wake()
    return web.json_response(status=HTTPStatus.ACCEPTED, body=msgspec.json.encode(ReplaysBegun(replay_id, matched)))


async def replay(request: web.Request) -> web.Response:
    """
    Read a replay and its progress.

    A replay ends as `done`, `cancelled`, or `failed` if a part of it failed.
    """
    return await _show(request, id_of(request.match_info["replayId"], "replay"))


async def all_replays(request: web.Request) -> web.Response:
    """
    List the replays, newest first.

    Replays of the HTTP API and of the command line are both included.
    """
    page = parse_page(request.query, names_of(PARAMETERS), datetime.now(UTC))
    async with command_transaction(request) as connection:
        found = await jobs.read_all(connection, page.before, page.limit + 1)
    shown = found[: page.limit]
    answer = ReplaysPage(shown, cursor_of(shown[-1].replay_id) if len(found) > page.limit else None)
    return web.json_response(body=msgspec.json.encode(answer))


async def items(request: web.Request) -> web.Response:
    """
    List the deliveries of a replay, in their order.

    `state` narrows the list.
    """
    replay_id = id_of(request.match_info["replayId"], "replay")
    state, after, limit = _items_query(request)
    async with command_transaction(request) as connection:
        if await jobs.read(connection, replay_id) is None:
            raise _absent()
        found = await jobs.items(connection, replay_id, state=state, after=after, limit=limit + 1)
    shown = found[:limit]
    answer = Items(shown, str(shown[-1].n) if len(found) > limit else None)
    return web.json_response(body=msgspec.json.encode(answer))


async def cancel(request: web.Request) -> web.Response:
    """
    Cancel a replay.

    Deliveries that were already sent continue; the others are not taken up.
    """
    replay_id = id_of(request.match_info["replayId"], "replay")
    async with command_transaction(request) as connection:
        cancelled = await jobs.cancel(connection, replay_id)
        found = await jobs.read(connection, replay_id)
    if found is None:
        raise _absent()
    if not cancelled and found.state != "cancelled":
        raise GatewayError(Reason.REPLAY_ENDED, f"this replay has ended: it is {found.state}")
    return web.json_response(body=msgspec.json.encode(found))


async def _show(request: web.Request, replay_id: UUID) -> web.Response:
    async with command_transaction(request) as connection:
        found = await jobs.read(connection, replay_id)
    if found is None:
        raise _absent()
    return web.json_response(body=msgspec.json.encode(found))


def _absent() -> GatewayError:
    return GatewayError(Reason.NOT_FOUND, "no replay has this id, or it ended longer ago than anything is kept")


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except OperationError as error:
        raise GatewayError(Reason(error.reason), str(error)) from error


def _items_query(request: web.Request) -> tuple[ItemState | None, int, int]:
    given = dict(request.query)
    state, cursor = given.pop("state", None), given.pop("cursor", "0")
    page = parse_page(given, frozenset({"limit"}), datetime.now(UTC))
    if state is not None and state not in get_args(ItemState):
        raise GatewayError(Reason.QUERY_MALFORMED, f"state is one of {', '.join(get_args(ItemState))}")
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= len(str(MATCHED_MAX))):
        raise GatewayError(Reason.QUERY_MALFORMED, "cursor is not one that was given out")
    return cast("ItemState | None", state), int(cursor), page.limit


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
