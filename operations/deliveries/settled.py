"""Where a delivery that was taken is now, as a condition on the delivery log: the rows behind each figure of the ledger."""

from typing import Literal

from sqlalchemy import ColumnElement, and_, case, exists, or_, select

from operations.ledger.books import SETTLED_BY
from outbox.tables import consumed, dead_letters, outbox, outbox_pending, webhook_deliveries

Settled = Literal["processed", "inFlight", "deadLettered", "ignored", "missing"]


def settled(state: Settled) -> ColumnElement[bool]:
    """Whether it is in that state: the questions of `operations.ledger.books` in the same order, which a test compares."""
    log = webhook_deliveries.c
    consumer = case(*((log.source == source, settler) for source, settler in SETTLED_BY.items()))
    event = exists().where(outbox.c.id == log.id)
    marked = exists().where(consumed.c.event_id == log.id, consumed.c.consumer == consumer)
    aside = exists().where(
        dead_letters.c.event_id == log.id, dead_letters.c.consumer == consumer, dead_letters.c.status != "retried"
    )
    parked = log.id.in_(select(outbox_pending.c.event_id).where(outbox_pending.c.parked_at.is_not(None)))
    accepted, ignored = log.outcome == "accepted", log.outcome == "ignored"
    if state == "missing":
        return and_(or_(accepted, ignored), ~event)
    if state == "deadLettered":
        return and_(or_(accepted, ignored), event, or_(aside, and_(accepted, ~marked, parked)))
    taken = {
        "processed": and_(or_(accepted, ignored), marked),
        "ignored": and_(ignored, ~marked),
        "inFlight": and_(accepted, ~marked, ~parked),
    }
    return and_(taken[state], event, ~aside)
