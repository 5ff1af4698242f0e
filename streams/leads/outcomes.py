"""Turns the end of an attempt into the next state of its lead and the events about it: pure functions."""

from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from outbox.append import event_of
from runtime.tracing import continue_trace
from schemas.envelope import Event
from schemas.leads import EXHAUSTED, REJECTED, LeadDelivered, LeadDeliveryExhausted, LeadDeliveryFailed, LeadStatus
from schemas.operations import AlertRaised
from streams.leads.decisions import Answer, Decision, Delivered, Exhausted, Rejected, RetryAt
from streams.leads.delivery_store import Claimed, Move

SOURCE: Final = "/workers/leads"
RUNBOOK: Final = "runbooks/lead-delivery.md"
_STATUS: Final[dict[type[Decision], LeadStatus]] = {
    Delivered: "delivered",
    RetryAt: "retrying",
    Rejected: "rejected",
    Exhausted: "exhausted",
}


class Ended(NamedTuple):
    """
    An attempt that is over, and the decision about its lead.

    An attempt that is not `counted` was made to probe the CRM before the lead was due, and uses up none of the lead's attempts.
    """

    lead: Claimed
    answer: Answer
    decision: Decision
    at: datetime
    counted: bool = True


class Outcome(NamedTuple):
    """The rows to write: the move, the events of the lead, and an alert if an operator should look."""

    move: Move
    events: list[Event]
    alert: Event | None


def outcome_of(ended: Ended, version: int) -> Outcome:
    """Return the rows to write about an attempt whose lead is at the version."""
    records = _records(ended, version)
    lead, answer = ended.lead, ended.answer
    move = Move(
        lead_id=lead.id,
        attempt=lead.attempt,
        ended_at=ended.at,
        answer_status=answer.status,
        error=answer.error,
        excerpt=answer.excerpt,
        status=_STATUS[type(ended.decision)],
        next_attempt_at=ended.decision.when if isinstance(ended.decision, RetryAt) else None,
        version=version + len(records),
        counted=ended.counted,
    )
    events = [_event(ended, record, version + place) for place, record in enumerate(records, start=1)]
    return Outcome(move, events, alert_of(ended))


def _records(ended: Ended, version: int) -> list[msgspec.Struct]:
    lead, answer, decision = ended.lead, ended.answer, ended.decision
    fields: dict[str, Any] = {
        "partner_id": lead.partner_id,
        "external_lead_id": lead.external_lead_id,
        "attempt": lead.attempt,
        "status": answer.status,
    }
    error = answer.error or "unknown"
    if isinstance(decision, Delivered):
        return [LeadDelivered(**fields, version=version + 1)]
    due = decision.when if isinstance(decision, RetryAt) else None
    records: list[msgspec.Struct] = [LeadDeliveryFailed(**fields, version=version + 1, error=error, next_attempt_at=due)]
    if isinstance(decision, Exhausted):
        records.append(LeadDeliveryExhausted(**fields, version=version + 2, error=error))
    return records


def _event(ended: Ended, record: msgspec.Struct, version: int | None) -> Event:
    lead = ended.lead
    return event_of(
        record,
        aggregate_id=str(lead.id),
        source=SOURCE,
        occurred_at=ended.at,
        trace=continue_trace(lead.traceparent),
        version=version,
        causation_id=lead.id,
    )


def alert_of(ended: Ended) -> Event | None:
    """Return an alert if nothing more happens by itself, so that an operator looks at the lead."""
    lead, answer = ended.lead, ended.answer
    if not isinstance(ended.decision, Exhausted | Rejected):
        return None
    word = EXHAUSTED if isinstance(ended.decision, Exhausted) else REJECTED
    summary = f"Partner {lead.partner_id} has not taken lead {lead.id} in {lead.attempt} attempts: {answer.error}"
    return _event(ended, AlertRaised(alert=word, subject=str(lead.id), summary=summary, runbook=RUNBOOK), None)
