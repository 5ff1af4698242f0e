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

_LIMIT: Final = Parameter("limit", PageLimit, f"How many at most; {LIMIT_DEFAULT} unless told.")
_CURSOR: Final = Parameter("cursor", Cursor, "The `next` of the page before.")
PARAMETERS: Final = (_LIMIT, _CURSOR)
ITEM_PARAMETERS: Final = (Parameter("state", ItemState, "Only those in this state."), _LIMIT, _CURSOR)

_NARROWING: Final = ("ids", "source", "types", "status", "mode", "account", "from", "to")
_UNKNOWN_OF_REJECTED: Final = ("types", "mode", "account")

Limit = Annotated[int, Meta(ge=1, le=MATCHED_MAX)]
Rate = Annotated[float, Meta(gt=0, le=RATE_MAX)]


class ReplayWebhooks(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """
    Which deliveries to take up again: those that fit all of it; at least one of the first eight has to be there.

    `from` is before `to`, and `types`, `mode` and `account` are not known of what was `rejected`.

    `status` is the delivery's outcome, `mode` and `account` are what its event states, `from` and `to` say when it came (UTC
    unless they name a zone), `limit` takes the oldest, `rate` is how many a second, 100 unless told.
    """

    ids: Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=_IDS_MAX)] | None = None
    source: Word | None = None
    types: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=100)] | None = None
    status: Outcome | None = None
    mode: Mode | None = None
    account: Word | None = None
    since: datetime | None = msgspec.field(default=None, name="from")
    until: datetime | None = msgspec.field(default=None, name="to")
    limit: Limit | None = None
    rate: Rate = RATE_DEFAULT
    dry_run: bool = False
    reason: Why | None = None

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
    """It is written down, and a gateway takes it up."""

    replay_id: UUID
    matched: int


class ReplaysPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Newest first; `next` is the cursor of the following page, absent on the last one."""

    items: list[Replay]
    next: str | None = None


class Items(msgspec.Struct, frozen=True, omit_defaults=True):
    """In the order in which they are taken up; `next` is the cursor of the following page, absent on the last one."""

    items: list[Item]
    next: str | None = None


async def begin(request: web.Request) -> web.Response:
    """Take deliveries up again, or with `dryRun` say what that would do. What has had its effects is not changed by it."""
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
    """How far a replay is."""
    return await _show(request, id_of(request.match_info["replayId"], "replay"))


async def all_replays(request: web.Request) -> web.Response:
    """The replays, newest first."""
    page = parse_page(request.query, names_of(PARAMETERS), datetime.now(UTC))
    async with command_transaction(request) as connection:
        found = await jobs.read_all(connection, page.before, page.limit + 1)
    shown = found[: page.limit]
    answer = ReplaysPage(shown, cursor_of(shown[-1].replay_id) if len(found) > page.limit else None)
    return web.json_response(body=msgspec.json.encode(answer))


async def items(request: web.Request) -> web.Response:
    """What became of each delivery of a replay; `state` narrows it."""
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
    """Take nothing up any more; what has gone out goes on."""
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
