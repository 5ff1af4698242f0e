"""A reconciliation compares both sides of every object, kind by kind; with `apply`, differing objects go to the intake."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, DataError

from gateway.audit_log import note_command
from operations.backfill.store import record_missing
from operations.backfill.stripe_api import StripeApiError
from operations.reconcile import store
from operations.reconcile.lists import Found, StripeLists
from operations.reconcile.sides import (
    COMPARED,
    Compared,
    Theirs,
    deleted,
    differences,
    is_deleted,
    is_part_of_another,
    plain,
    theirs_of,
    unexpanded_charge,
)
from operations.reconcile.store import Scope
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.foreign_json import UNREADABLE
from streams.errors import Poison
from streams.payments.fetching.received import received_of
from streams.payments.fetching.store import ORIGIN

DifferenceKind = Literal["missing_here", "missing_there", "differs", "unreadable"]
LISTED_MAX: Final = 1000
"""The maximum number of differences that are listed; all of them are counted."""
_TRIES: Final = 3
_LOOK_EVERY: Final = 0.5  # seconds
_PAGE: Final = 500


class Difference(msgspec.Struct, kw_only=True):
    """
    An object that differs; `fields` has our value and the provider's value of each field that differs.

    An `unreadable` object is one that Stripe returned and that cannot be understood.
    """

    kind: str
    id: str
    what: DifferenceKind
    fields: dict[str, tuple[Any, Any]] = {}
    mended: bool = False


class Uncompared(msgspec.Struct, frozen=True):
    """A kind of object that Stripe did not return."""

    kind: str
    reason: str
    detail: str


class Report(msgspec.Struct, kw_only=True, rename="camel"):
    """
    The result of a reconciliation.

    `compared` counts objects by kind, and `found` counts differences by kind of difference. `handed_in` of them were given to
    the intake, `mended` have disappeared since, and `remaining` have not, including those that cannot be corrected, such as
    objects that the provider does not have.
    """

    since: datetime = msgspec.field(name="from")
    until: datetime = msgspec.field(name="to")
    apply: bool
    compared: dict[str, int] = {}
    found: dict[str, int] = {}
    handed_in: int = 0
    mended: int = 0
    waited_for: int = 0
    differences: list[Difference] = []
    uncompared: list[Uncompared] = []

    @property
    def remaining(self) -> int:
        return sum(self.found.values()) - self.mended

    @property
    def equal(self) -> bool:
        """True if all objects were compared and no difference remains."""
        return not self.remaining and not self.uncompared


class Options(NamedTuple):
    """The options of a reconciliation; `wait` is the time to wait for the workers after `apply`."""

    since: datetime
    until: datetime
    apply: bool = False
    account: str | None = None
    wait: timedelta = timedelta(minutes=1)
    operator: str = ""


class _Handed(NamedTuple):
    """The events that were recorded for a difference, and the row that they should make."""

    compared: Compared
    difference: Difference
    theirs: Theirs
    events: list[UUID]


Progress = Callable[[str], None]
"""Called with a description of the current step."""


async def reconcile(
    connection: AsyncConnection, lists: StripeLists, options: Options, report: Report, progress: Progress = lambda _: None
) -> Report:
    """
    Compare all kinds, on a connection in autocommit mode; a kind that Stripe does not return is reported, and the others go on.

    Raises StripeApiError if Stripe returns none of them.
    """
    if options.apply:
        await note_command(connection, "tallyhook reconcile stripe", options.operator)
    work = _Work(connection, lists, options, report, progress)
    failures = [failure for compared in COMPARED if (failure := await work.compare_kind(compared))]
    if len(failures) == len(COMPARED):
        raise failures[0]
    await work.confirm()
    return report


class _Work:
    def __init__(
        self, connection: AsyncConnection, lists: StripeLists, options: Options, report: Report, progress: Progress
    ) -> None:
        self._connection = connection
        self._lists = lists
        self._options = options
        self._report = report
        self._progress = progress
        self._handed: list[_Handed] = []

    async def compare_kind(self, compared: Compared) -> StripeApiError | None:
        """Compare both sides of all objects of a kind; return the error if Stripe does not return them."""
        seen: set[str] = set()
        self._report.compared.setdefault(compared.kind, 0)
        pages = self._lists.pages(compared.kind, self._options.since, self._options.until)
        try:
            while (page := await asyncio.to_thread(next, pages, None)) is not None:
                seen.update(found.id for found in page)
                await self._compare(compared, page)
            scope = Scope(self._options.account, self._lists.livemode)
            ours = await store.first_seen(self._connection, compared, scope, self._options.since, self._options.until)
            for object_id in (each for each in ours if each not in seen):
                found = await asyncio.to_thread(self._lists.one, compared.kind, object_id)
                if found is None:
                    await self._compare_gone(compared, object_id)
                else:
                    await self._compare(compared, [found])
        except StripeApiError as error:
            self._report.uncompared.append(Uncompared(compared.kind, error.reason, str(error)))
            return error
        return None

    async def _compare(self, compared: Compared, page: Iterable[Found]) -> None:
        sides = [theirs for found in page if (theirs := await self._theirs(compared, found))]
        ours = await store.rows(self._connection, compared, [theirs.id for theirs in sides])
        for theirs in sides:
            self._report.compared[compared.kind] += 1
            if (difference := _difference(compared, ours.get(theirs.id), theirs)) is not None:
                self._note(difference)
                if self._options.apply:
                    await self._hand_in(compared, difference, theirs)
        self._progress(f"{compared.kind}: {self._report.compared[compared.kind]:,} compared, {self._report.remaining:,} differ")

    async def _compare_gone(self, compared: Compared, object_id: str) -> None:
        """
        Note an object that Stripe does not have, and hand in its deletion if it was deleted for sure.

        Only a draft invoice can be deleted; an invoice that is void here may have been such a draft. A draft of another account
        is not found either, and once void it would stay so.
        """
        ours = (await store.rows(self._connection, compared, [object_id]))[object_id]
        if is_deleted(compared, ours):
            self._report.compared[compared.kind] += 1
            return
        difference = Difference(kind=compared.kind, id=object_id, what="missing_there")
        self._note(difference)
        theirs = deleted(compared, object_id, ours, datetime.now(UTC), self._options.account)
        if theirs is None or not self._options.apply:
            return
        if await store.came_by_plain_path(self._connection, compared, object_id):
            await self._hand_in(compared, difference, theirs)

    async def _theirs(self, compared: Compared, found: Found) -> Theirs | None:
        """Return the provider's side, or None if the object is compared as a part of another one, or states nothing by itself."""
        try:
            if is_part_of_another(found):
                return None
            name = unexpanded_charge(found)
            charge = await asyncio.to_thread(self._lists.one, "charge", name) if name else None
            theirs = theirs_of(compared, found, charge, self._options.account)
        except (*UNREADABLE, Poison) as error:
            self._note(Difference(kind=compared.kind, id=found.id, what="unreadable", fields={"error": (None, str(error)[:200])}))
            return None
        return theirs if theirs.row is not None else None

    def _note(self, difference: Difference) -> None:
        self._report.found = dict(Counter(self._report.found) + Counter([difference.what]))
        if len(self._report.differences) < LISTED_MAX:
            self._report.differences.append(difference)

    async def _hand_in(self, compared: Compared, difference: Difference, theirs: Theirs) -> None:
        """Record the events of an object as the webhook route would have received them, but without a signature."""
        waiting = [received_of(event, new_id(), new_trace().traceparent) for event in theirs.events]
        events: list[UUID] = []
        for _ in range(_TRIES):
            try:
                outcomes = await record_missing(self._connection, waiting, {ORIGIN: "reconcile"})
            except (DataError, ValueError):
                difference.what = "unreadable"
                return
            events += [outcome.event_id for outcome in outcomes if outcome]
            waiting = [received for received, outcome in zip(waiting, outcomes, strict=True) if outcome is None]
            if not waiting:
                break
        self._report.handed_in += 1
        self._handed.append(_Handed(compared, difference, theirs, events))

    async def confirm(self) -> None:
        """Wait for the workers, and count the differences that have disappeared."""
        events = {event for handed in self._handed for event in handed.events}
        deadline = asyncio.get_running_loop().time() + self._options.wait.total_seconds()
        while events:
            self._progress(f"waiting for the worker to handle {len(events):,} events")
            events -= await store.handled(self._connection, list(events))
            if not events or asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(_LOOK_EVERY)
        self._report.waited_for = len(events)
        for compared in COMPARED:
            mine = [handed for handed in self._handed if handed.compared == compared]
            for start in range(0, len(mine), _PAGE):
                await self._confirm(compared, mine[start : start + _PAGE])

    async def _confirm(self, compared: Compared, handed: Sequence[_Handed]) -> None:
        ours = await store.rows(self._connection, compared, [each.theirs.id for each in handed])
        for each in handed:
            each.difference.mended = _difference(compared, ours.get(each.theirs.id), each.theirs) is None
            self._report.mended += each.difference.mended


def _difference(compared: Compared, ours: dict[str, Any] | None, theirs: Theirs) -> Difference | None:
    assert theirs.row is not None  # noqa: S101  # narrows the type
    if ours is None:
        fields = {field: (None, value) for field, value in plain(theirs.row).items()}
        return Difference(kind=compared.kind, id=theirs.id, what="missing_here", fields=fields)
    fields = differences(compared, ours, theirs.row)
    return Difference(kind=compared.kind, id=theirs.id, what="differs", fields=fields) if fields else None
