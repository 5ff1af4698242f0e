"""Reads the own events of a lead back: the state of the lead that each of them records."""

from typing import Final
from uuid import UUID

from projections.leads import LeadStatus
from schemas.envelope import Event
from schemas.leads import LeadDelivered, LeadDeliveryExhausted, LeadDeliveryFailed
from streams.leads.store import OwnEvent
from streams.records import data_of

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
