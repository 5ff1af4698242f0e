"""The objects that a batch of events makes us fetch from Stripe's API. Pure functions, except for a counter."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from prometheus_client import Counter

from schemas.envelope import Event
from schemas.foreign_json import UNREADABLE, Decoder
from schemas.stripe import SOURCE, TYPE_PREFIX
from schemas.stripe_snapshots import KINDS
from schemas.stripe_thin import DATASCHEMA, ThinEvent
from streams.errors import Poison, PoisonReason
from streams.payments.fetching.store import Wanted
from streams.payments.steps import Step, Steps
from streams.payments.store import Key

CONTESTS = Counter(
    "tallyhook_order_contested_total",
    "Events of the same second whose order is ambiguous; `decided_by` is the provider's API or the fixed rule.",
    ["provider", "kind", "decided_by"],
)


class _Marks(msgspec.Struct, frozen=True):
    """The fields of an event's body that identify its mode and account."""

    livemode: bool | None = None
    account: str | None = None
    context: str | None = None


_thin: Final = Decoder(ThinEvent)
_marks: Final = Decoder(_Marks)


def of_thin_events(events: Iterable[Event]) -> list[Wanted]:
    """Return the objects that thin events name. Raises Poison `event_malformed`, with the event's id."""
    return [wanted for event in events if event.dataschema == DATASCHEMA and (wanted := _of_thin(event))]


def _of_thin(event: Event) -> Wanted | None:
    try:
        thin = _thin.decode(event.data)
    except UNREADABLE as error:
        raise Poison(PoisonReason.EVENT_MALFORMED, str(error), event.id) from error
    named = thin.related_object
    if named is None or named.id is None or named.type not in KINDS:
        return None
    return Wanted(
        event_id=event.id,
        kind=named.type,
        object_id=named.id,
        why="thin",
        cause=thin.type.removeprefix("v1."),
        after=int(event.occurred_at.timestamp()),
        context=thin.context,
        account=None,
        livemode=thin.livemode,
        traceparent=event.traceparent,
    )


def of_contests(steps: Steps, *, decides: bool) -> list[Wanted]:
    """Return the objects whose order is contested, if the provider's API can decide it."""
    found: list[Wanted] = []
    for key, step in _contested(steps):
        fetched = decides and key.provider == SOURCE
        CONTESTS.labels(key.provider, key.kind, "provider" if fetched else "rule").inc()
        if fetched:
            found.append(_of_contest(key, step.event))
    return found


def _of_contest(key: Key, event: Event) -> Wanted:
    marks = _marks_of(event)
    return Wanted(
        event_id=event.id,
        kind=_kind_of(key),
        object_id=key.id,
        why="order",
        cause=event.type.removeprefix(TYPE_PREFIX),
        after=int(event.occurred_at.timestamp()),
        context=marks.context,
        account=marks.account,
        livemode=marks.livemode,
        traceparent=event.traceparent,
    )


def _contested(steps: Steps) -> Iterator[tuple[Key, Step]]:
    return ((key, step) for key, taken in steps.items() for step in taken if step.contested)


def _kind_of(key: Key) -> str:
    """Return the kind of the aggregate's object: a payment is an intent or, by its id, a charge without one."""
    if key.kind == "payment":
        return "payment_intent" if key.id.startswith("pi_") else "charge"
    return key.kind


def _marks_of(event: Event) -> _Marks:
    try:
        return _marks.decode(event.data)
    except UNREADABLE:  # a body without readable marks is still handled
        return _Marks()
