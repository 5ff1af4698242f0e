"""Dead letters by worker and reason: one looked at, sent again or given up, or all of a group, a few at a time."""

from collections.abc import Iterable
from typing import Annotated, Final, NamedTuple
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from console.door import form_fields
from console.links import page_of
from console.pages import SESSION, Screen, page
from gateway.answers import known
from gateway.errors import refusing
from gateway.paging import id_of
from gateway.parameters import parse_query
from gateway.postgres import reading, transaction
from operations.dead_letters import listing
from operations.dead_letters.query import DeadLettersQuery
from operations.dead_letters.store import SetAsideSetAside
from operations.errors import OperationError
from schemas.text import Filter, LongWhy

_LOOKED_AT: Final = 1000
"""The newest dead letters, which are grouped; more of them would be a page that nobody reads."""
_SHOWN: Final = 50
_AT_ONCE: Final = 25
"""Of a group; the page then asks for the next ones, so that its progress is seen and it can be left."""


class Group(NamedTuple):
    """The open dead letters of one worker and reason; `example` is the newest."""

    example: SetAsideSetAside
    number: int


class Settling(msgspec.Struct, frozen=True, kw_only=True):
    """The fate of a dead letter, or of a group: with a reason it is given up, without one it is sent again."""

    why: LongWhy | None = None
    consumer: Filter | None = None
    reason: Filter | None = None
    of: Annotated[int, Meta(ge=0)] = 0  #: How many there were when the first were settled.
    done: Annotated[int, Meta(ge=0)] = 0  #: How many of them have been settled.


async def groups(request: web.Request) -> web.Response:
    """Show the open ones by worker and reason."""
    async with reading(request) as connection:
        found = await listing.find(connection, DeadLettersQuery(status="open"), _LOOKED_AT + 1)
    return page(
        request, "dead_letters.html", groups=_grouped(found[:_LOOKED_AT]), more=len(found) > _LOOKED_AT, looked_at=_LOOKED_AT
    )


async def members(request: web.Request) -> web.Response:
    """Show the newest ones of a group."""
    asked = parse_query(Settling, request.query.items())
    async with reading(request) as connection:
        found = await listing.find(connection, _query_of(asked), _SHOWN + 1)
    return page(request, "_dead_letters.html", letters=found[:_SHOWN], more=len(found) > _SHOWN, shown=_SHOWN)


async def detail(request: web.Request) -> web.Response:
    """Show one with its record, and what can be done about it."""
    asked = id_of(request.match_info["id"], "dead letter")
    async with reading(request) as connection:
        letter, contents = known(await listing.read(connection, asked), "no dead letter has this id")
    body = contents.value if request[SESSION].changes else None
    return page(request, "_dead_letter.html", letter=letter, body=body, page_of=page_of)


async def settle(request: web.Request) -> web.Response:
    """Send one again, or give it up for good; shows what it is afterwards."""
    item_id, asked = id_of(request.match_info["id"], "dead letter"), await _asked(request)
    with refusing(OperationError):
        await _settle(request, item_id, asked.why)
    async with reading(request) as connection:
        letter, _ = known(await listing.read(connection, item_id), "no dead letter has this id")
    return page(request, "_dead_letter_settled.html", letter=letter)


async def settle_group(request: web.Request) -> web.Response:
    """Send the next few of a group again, or give them up, oldest first; the page asks on until none is left."""
    asked = await _asked(request)
    async with reading(request) as connection:  # counted once, then only the next few are read
        found = await listing.find(connection, _query_of(asked), _AT_ONCE + 1 if asked.of else _LOOKED_AT, oldest_first=True)
    refused = 0
    for letter in found[:_AT_ONCE]:
        try:
            await _settle(request, letter.id, asked.why)
        except OperationError:  # another operator was faster
            refused += 1
    settled = min(len(found), _AT_ONCE) - refused
    total, done = asked.of or len(found), asked.done + settled
    # One that fails again at once is a new dead letter of the same group: the first count bounds what is asked for.
    ended = len(found) <= _AT_ONCE or done >= total or not settled
    return page(request, "_dead_letters_progress.html", asked=asked, total=total, done=done, ended=ended)


async def _asked(request: web.Request) -> Settling:
    """The fields of the form. Raises GatewayError `query_malformed`."""
    return parse_query(Settling, await form_fields(request))


async def _settle(request: web.Request, item_id: UUID, why: str | None) -> None:
    """Raises OperationError `dead_letter_settled`, `not_found`."""
    by = request[SESSION].holder.secret_id
    async with transaction(request) as connection:
        if why is None:
            await listing.retry(connection, item_id, by)
        else:
            await listing.discard(connection, item_id, why, by)


def _query_of(asked: Settling) -> DeadLettersQuery:
    return DeadLettersQuery(status="open", consumer=asked.consumer, reason=asked.reason)


def _grouped(letters: Iterable[SetAsideSetAside]) -> list[Group]:
    """The groups, largest first."""
    found: dict[tuple[str, str], Group] = {}
    for letter in letters:
        key = letter.consumer, letter.reason
        known_group = found.get(key, Group(letter, 0))
        found[key] = known_group._replace(number=known_group.number + 1)
    return sorted(found.values(), key=lambda group: -group.number)


SCREEN: Final = Screen(
    "Dead letters",
    "/console/dead-letters",
    (
        web.get("/dead-letters", groups, name="console_dead_letters"),
        web.get("/dead-letters/members", members, name="console_dead_letters_members"),
        web.post("/dead-letters/group", settle_group, name="console_dead_letters_group"),
        web.get("/dead-letters/{id}/detail", detail, name="console_dead_letters_detail"),
        web.post("/dead-letters/{id}", settle, name="console_dead_letters_settle"),
    ),
)
