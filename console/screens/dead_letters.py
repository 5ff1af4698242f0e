"""Dead letters by worker and reason: one is shown, retried or discarded, or all of a group, in small batches."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Final, Literal, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from console.links import page_of
from console.middleware import form_fields
from console.pages import SESSION, Screen, page
from gateway.answers import require
from gateway.errors import GatewayError, Reason, refusing
from gateway.masking import MASK
from gateway.paging import cursor_of, id_of, last_of
from gateway.parameters import parse_query
from gateway.postgres import reading, transaction
from operations.dead_letters import listing
from operations.dead_letters.query import FIRST_ID, DeadLettersQuery
from operations.dead_letters.store import DeadLetter
from operations.errors import OperationError
from schemas.leads import EXHAUSTED, REJECTED
from schemas.text import Cursor, Filter, LongReasonText

_GROUPED_MAX: Final = 1000
"""The maximum number of dead letters that are grouped, newest first; a longer page would not be useful."""
_SHOWN: Final = 50
_BATCH: Final = 25
"""The batch size for a group; the page requests each batch, so that it shows the progress and can be left."""


class Group(NamedTuple):
    """The open dead letters of one worker and reason that are shown: the newest, the oldest, and their number."""

    newest: DeadLetter
    oldest: DeadLetter
    number: int

    @property
    def after(self) -> str:
        """The cursor before the oldest, for the form."""
        return cursor_of(FIRST_ID, self.oldest.set_aside_at)

    @property
    def until(self) -> str:
        """The cursor of the newest."""
        return cursor_of(self.newest.id, self.newest.set_aside_at)


class Narrowing(msgspec.Struct, frozen=True, kw_only=True):
    """The group to show."""

    consumer: Filter | None = None
    reason: Filter | None = None


class Settling(msgspec.Struct, frozen=True, kw_only=True):
    """The settlement of a dead letter: a retry, or a discard with a reason."""

    verb: Literal["retry", "discard"]
    why: LongReasonText | None = None


class SettlingGroup(Settling, frozen=True, kw_only=True):
    """The settlement of a group, limited to the dead letters that were shown when it was confirmed."""

    consumer: Filter
    reason: Filter
    of: Annotated[int, Meta(ge=1, le=_GROUPED_MAX)]  #: Number of dead letters in the group.
    after: Cursor  #: The cursor before the next batch.
    until: Cursor  #: The cursor of the last one; later dead letters were not confirmed.
    done: Annotated[int, Meta(ge=0, le=_GROUPED_MAX)] = 0  #: Number of those that have been settled.


_Form = TypeVar("_Form", bound=Settling)


async def groups(request: web.Request) -> web.Response:
    """Show the open dead letters by worker and reason."""
    async with reading(request) as connection:
        found = await listing.find(connection, DeadLettersQuery(status="open"), _GROUPED_MAX + 1)
    letters = [_shown(request, letter) for letter in found[:_GROUPED_MAX]]
    return page(request, "dead_letters.html", groups=_grouped(letters), more=len(found) > _GROUPED_MAX, grouped_max=_GROUPED_MAX)


async def members(request: web.Request) -> web.Response:
    """Show the newest dead letters of a group."""
    asked = parse_query(Narrowing, request.query.items())
    async with reading(request) as connection:
        found = await listing.find(connection, _open_ones(asked), _SHOWN + 1)
    letters = [_shown(request, letter) for letter in found[:_SHOWN]]
    return page(request, "_dead_letters.html", letters=letters, more=len(found) > _SHOWN, shown=_SHOWN)


async def letter_page(request: web.Request) -> web.Response:
    """Show one dead letter on its own page."""
    return await _one(request, "dead_letter.html")


async def detail(request: web.Request) -> web.Response:
    """Show one dead letter with its record and the possible actions."""
    return await _one(request, "_dead_letter.html")


async def settle(request: web.Request) -> web.Response:
    """Retry or discard a dead letter, and show its new state."""
    item_id, asked = id_of(request.match_info["id"], "dead letter"), await _form_of(request, Settling)
    with refusing(OperationError):
        sent = await _settle(request, item_id, asked)
    async with reading(request) as connection:
        letter, _ = require(await listing.read(connection, item_id), "no dead letter has this id")
    return page(request, "_dead_letter_settled.html", letter=letter, sent=sent, page_of=page_of)


async def settle_group(request: web.Request) -> web.Response:
    """Retry or discard the next batch of a group, oldest first; the page requests batches until none is left."""
    asked = await _form_of(request, SettlingGroup)
    limit = max(min(_BATCH, asked.of - asked.done), 0)
    async with reading(request) as connection:
        found = await listing.find(connection, _open_ones(asked), limit, oldest_first=True, after=last_of(asked.after))
    meant = [letter for letter in found if listing.place_of(letter) <= last_of(asked.until)]
    done = asked.done
    for letter in meant:
        with suppress(OperationError):  # another operator was faster
            await _settle(request, letter.id, asked)
            done += 1
    after = cursor_of(meant[-1].id, meant[-1].set_aside_at) if meant else asked.after
    so_far = msgspec.structs.replace(asked, done=done, after=after)
    ended = len(meant) < limit or done >= asked.of
    leads = asked.reason in {EXHAUSTED, REJECTED}
    return page(request, "_dead_letters_progress.html", asked=so_far, ended=ended, leads=leads)


async def _one(request: web.Request, template: str) -> web.Response:
    asked = id_of(request.match_info["id"], "dead letter")
    async with reading(request) as connection:
        letter, contents = require(await listing.read(connection, asked), "no dead letter has this id")
    body = contents.value if request[SESSION].changes else None
    return page(request, template, letter=_shown(request, letter), body=body, sent=None, page_of=page_of)


async def _form_of(request: web.Request, record: type[_Form]) -> _Form:
    """Return the fields of the form. Raises GatewayError `query_malformed`."""
    asked = parse_query(record, await form_fields(request))
    if (asked.verb == "discard") != bool(asked.why):
        raise GatewayError(Reason.QUERY_MALFORMED, "discard needs a reason, and retry takes none: nothing was done")
    return asked


async def _settle(request: web.Request, item_id: UUID, asked: Settling) -> listing.Sent | None:
    """Return the retry, or None after a discard. Raises OperationError `dead_letter_settled`, `not_found`."""
    by = request[SESSION].holder.secret_id
    async with transaction(request) as connection:
        if not asked.why:
            return await listing.retry(connection, item_id, by)
        await listing.discard(connection, item_id, asked.why, by)
        return None


def _shown(request: web.Request, letter: DeadLetter) -> DeadLetter:
    """Return the letter as the session may see it: for readers its detail is masked, since it may quote personal data."""
    return letter if request[SESSION].changes else msgspec.structs.replace(letter, detail=MASK)


def _open_ones(asked: Narrowing | SettlingGroup) -> DeadLettersQuery:
    return DeadLettersQuery(status="open", consumer=asked.consumer, reason=asked.reason)


def _grouped(letters: Iterable[DeadLetter]) -> list[Group]:
    """Return the groups, largest first; `letters` must be sorted newest first."""
    found: dict[tuple[str, str], Group] = {}
    for letter in letters:
        key = letter.consumer, letter.reason
        known_group = found.get(key, Group(letter, letter, 0))
        found[key] = known_group._replace(oldest=letter, number=known_group.number + 1)
    return sorted(found.values(), key=lambda group: -group.number)


SCREEN: Final = Screen(
    "Dead letters",
    "/console/dead-letters",
    (
        web.get("/dead-letters", groups, name="console_dead_letters"),
        web.get("/dead-letters/members", members, name="console_dead_letters_members"),
        web.get("/dead-letters/{id}", letter_page, name="console_dead_letter"),
        web.post("/dead-letters/group", settle_group, name="console_dead_letters_group"),
        web.get("/dead-letters/{id}/detail", detail, name="console_dead_letters_detail"),
        web.post("/dead-letters/{id}", settle, name="console_dead_letters_settle"),
    ),
)
