"""
Handles received leads, and commands to deliver them: stores due leads, which the dispatcher delivers.

A rebuild also reads the events that this worker published about a lead: each records a state of the lead.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from outbox import tasks
from schemas.envelope import Event
from schemas.errors import Reason as SchemaReason
from schemas.leads import DELIVER, RECEIVED, DeliverLead, LeadDelivered, LeadDeliveryExhausted, LeadDeliveryFailed, LeadStatus
from schemas.partners import key_of
from schemas.text import Line, PartnerId
from streams.errors import Poison
from streams.leads import store
from streams.leads.store import LockedLead, NewLead, OwnEvent
from streams.records import data_of
from streams.replays import REPLAYED


class _Body(msgspec.Struct, frozen=True, rename="camel"):
    """A `LeadReceived` whose payload stays as bytes."""

    partner_id: PartnerId
    external_lead_id: Line
    payload: msgspec.Raw


class LeadsHandler:
    """The leads worker, as a `streams.role.Handler`; it ignores its own events on its topic (`lead.delivered` …)."""

    consumer: Final = "leads"

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        received = [_lead(e.id, e.data, e.traceparent, e.occurred_at) for e in events if e.type == RECEIVED]
        commands = [(event.id, data_of(event, DeliverLead)) for event in events if event.type == DELIVER]
        if received:
            await store.insert(connection, received)
        for task_id, command in commands:
            await _deliver(connection, task_id, command, self._now())

    async def restore(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        """
        Bring the leads to the state that their own events describe, in their order.

        A lead that is still undelivered is held back, and the task of a requested delivery fails: whether it was made is no
        longer known.
        """
        for event in events:
            if event.type == RECEIVED:
                lead = _lead(event.id, event.data, event.traceparent, event.occurred_at)
                await store.insert(connection, [lead], held=REPLAYED)
            elif event.type in OUTCOMES:
                await store.apply(connection, own_event_of(event), REPLAYED)
            elif event.type == DELIVER:
                await tasks.fail(connection, event.id, REPLAYED)

    async def rebuild(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        """Bring the leads to the state of their own events and commands, due as they were, in tables that no worker uses."""
        for event in events:
            if event.type == RECEIVED:
                await store.insert(connection, [_lead(event.id, event.data, event.traceparent, event.occurred_at)])
            elif event.type in OUTCOMES:
                await store.apply(connection, own_event_of(event))
            elif event.type == DELIVER:
                await _deliver(connection, event.id, data_of(event, DeliverLead), event.occurred_at)


async def _deliver(connection: AsyncConnection, task_id: UUID, command: DeliverLead, now: datetime) -> None:
    lead = await _find(connection, command.lead_id)
    if lead is None:
        await tasks.fail(connection, task_id, "lead_unknown")
    elif lead.partner != key_of(command.partner_id):
        await tasks.fail(connection, task_id, "lead_of_another_partner")
    elif lead.erased:
        await tasks.fail(connection, task_id, "lead_erased")
    elif (made := attempt_made(lead, command.attempt)) is not None:
        await tasks.finish(connection, task_id, {"delivered": lead.status == "delivered", "attempt": made})
    else:
        await store.make_due(connection, command.lead_id, task_id, now, afresh=command.afresh)


def attempt_made(lead: LockedLead, requested: int | None) -> int | None:
    """Return the attempt to report instead of making one: the last of a delivered lead, else `requested` if it has ended."""
    if lead.status == "delivered":
        return lead.attempts
    ended = lead.attempts - (lead.status == "delivering")
    return requested if requested is not None and requested <= ended else None


async def _find(connection: AsyncConnection, lead_id: UUID) -> LockedLead | None:
    found = (await store.lock(connection, [lead_id])).get(lead_id)
    if found is None and (event := await store.received(connection, lead_id)):
        await store.insert(connection, [_lead(lead_id, *event)])
        found = (await store.lock(connection, [lead_id])).get(lead_id)
    return found


def _lead(lead_id: UUID, data: bytes, traceparent: str, received_at: datetime) -> NewLead:
    try:
        body = msgspec.json.decode(data, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Poison(SchemaReason.DATA_MALFORMED, str(error), lead_id) from error
    return NewLead(
        id=lead_id,
        partner=key_of(body.partner_id),
        partner_id=body.partner_id,
        external_lead_id=body.external_lead_id,
        payload=bytes(body.payload),
        traceparent=traceparent,
        received_at=received_at,
    )


OUTCOMES: Final = frozenset({"lead.delivered", "lead.delivery.failed", "lead.delivery.exhausted"})


_Outcome = LeadDelivered | LeadDeliveryFailed | LeadDeliveryExhausted


def own_event_of(event: Event) -> OwnEvent:
    """Return the state in the event. Raises Poison."""
    record: _Outcome = data_of(event, LeadDelivered, LeadDeliveryFailed, LeadDeliveryExhausted)  # type: ignore[assignment]  # mypy joins the three to their base
    return OwnEvent(
        lead_id=UUID(event.aggregate_id),
        event_id=event.id,
        type=event.type,
        at=event.occurred_at,
        attempt=record.attempt,
        version=record.version,
        status=_status_of(record),
        answer_status=record.status,
        error=None if isinstance(record, LeadDelivered) else record.error,
        next_attempt_at=record.next_attempt_at if isinstance(record, LeadDeliveryFailed) else None,
    )


def _status_of(record: _Outcome) -> LeadStatus:
    """Return the status; a failure without a next attempt is a permanent refusal, unless `exhausted` follows."""
    match record:
        case LeadDelivered():
            return "delivered"
        case LeadDeliveryExhausted():
            return "exhausted"
        case LeadDeliveryFailed():
            return "retrying" if record.next_attempt_at else "rejected"
