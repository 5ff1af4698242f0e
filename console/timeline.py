"""The journey of an event as a timeline and as a tree: pure functions of the event's details."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from console.links import page_of
from operations.events.routes import EventsDetail
from operations.events.stations import Station
from runtime.ids import time_of

MONEY: Final = frozenset({"payment", "refund", "dispute", "subscription", "invoice"})


class Step(NamedTuple):
    """A step of a journey; `after` are the seconds since the first step, `quote` is the answer of another system."""

    at: datetime
    after: float
    what: str
    detail: str
    id: str
    page: str
    level: str
    quote: str = ""


class Branch(NamedTuple):
    """An event in the tree of causes; `own` is true for the event of the page."""

    event: Station
    depth: int
    own: bool


def timeline(found: EventsDetail) -> list[Step]:
    """Return every step whose time is known, oldest first."""
    steps = []
    if call := found.delivery:
        level = "much" if call.outcome == "rejected" else "none"
        steps.append(
            _step(call.received_at, f"{call.source} called", f"{call.outcome}, durable in Postgres", call.id, level=level)
        )
    for event in (found.event, *found.caused):
        steps += _of_event(event)
    for each in found.touched:
        if moment := each.began_at or each.ended_at:
            number = f" {each.attempt}" if each.kind == "attempt" else ""
            clock = ", by the provider's clock" if each.kind in MONEY else ""
            outcome = f"{each.status}{f' ({each.error})' if each.error else ''}"
            level = "much" if each.error else "none"
            took = f", took {(each.ended_at - moment).total_seconds():.3f} s" if each.kind == "attempt" and each.ended_at else ""
            what, page = f"{each.kind}{number}", page_of(each.kind, each.id)
            step = _step(moment, what, outcome + took + clock, each.id, level=level, page=page)
            steps.append(step._replace(quote=each.excerpt or ""))
    first = min(step.at for step in steps)
    ordered = sorted(steps, key=lambda step: step.at)
    return [step._replace(after=(step.at - first).total_seconds()) for step in ordered]


def _of_event(event: Station) -> list[Step]:
    level = {"parked": "much", "pending": "some"}.get(event.state, "none")
    state = f"parked: {event.parked_reason}" if event.parked_reason else event.state
    own = page_of("event", event.id)
    steps = [_step(time_of(event.id), event.type, f"{state}, topic {event.topic}", event.id, level=level, page=own)]
    handled = f"handled {event.type} in one transaction"
    steps += [
        _step(mark.at, f"{mark.consumer} worker", handled, event.id, level="none", page=own) for mark in event.marks if mark.at
    ]
    for letter in event.dead_letters:
        if letter.set_aside_at:
            place = "" if letter.offset is None else f", partition {letter.partition}, offset {letter.offset}"
            text = f"{letter.consumer}: {letter.reason}, {letter.status}{place}"
            steps.append(_step(letter.set_aside_at, "dead letter", text, letter.id, level="much"))
    return steps


def tree(found: EventsDetail) -> list[Branch]:
    """Return the causes, the event and its consequences, each below its cause."""
    events = (*found.causes, found.event, *found.caused)
    known = {event.id for event in events}
    children: dict[UUID | None, list[Station]] = {}
    for event in events:
        children.setdefault(event.causation_id if event.causation_id in known else None, []).append(event)
    return _below(children, None, 0, found.event.id)


def _below(children: dict[UUID | None, list[Station]], cause: UUID | None, depth: int, own: UUID) -> list[Branch]:
    found = []
    for event in children.get(cause, ()):
        found += [Branch(event, depth, event.id == own), *_below(children, event.id, depth + 1, own)]
    return found


def _step(at: datetime, what: str, detail: str, id: object, *, level: str, page: str = "") -> Step:  # noqa: A002  # it is an id
    return Step(at, 0.0, what, detail, str(id), page, level)
