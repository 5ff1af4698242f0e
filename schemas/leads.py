"""
Events of a partner's lead: its arrival, the command to deliver it, and the outcome of each attempt.

A lead's id is the id of the event that brought it, and the subject of all its events.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec

from schemas.text import Line, PartnerId

RECEIVED: Final = "lead.partner.received"
DELIVER: Final = "lead.deliver"

EXHAUSTED: Final = "lead_delivery_exhausted"
"""The reason of a dead letter and of an alert: the CRM has not taken the lead in all attempts."""
REJECTED: Final = "lead_delivery_rejected"
"""Likewise: the CRM refuses the lead for good."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
LeadStatus = Literal["received", "delivering", "retrying", "delivered", "exhausted", "rejected"]


class _Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Fields that every record has; readers ignore unknown fields, so that a field can be added."""


class LeadReceived(_Record, frozen=True, kw_only=True):
    """
    A partner has sent a lead.

    The data of the event is the partner's body, byte for byte.
    """

    partner_id: PartnerId  #: The partner's id, as configured here.
    external_lead_id: Line  #: The partner's id of the lead.
    payload: dict[str, Any]  #: The lead in the partner's own form.


class DeliverLead(_Record, frozen=True, kw_only=True):
    """
    Make one attempt to deliver a lead now.

    If the attempt of that number was already made, the task reports its outcome instead.
    """

    lead_id: UUID  #: The lead's id.
    partner_id: PartnerId  #: The partner's id, as configured here.
    attempt: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    """The number of the attempt, counted from 1; absent for the next one."""
    metadata: dict[str, Any] = {}  #: Values of the caller's, stored with the command.
    afresh: bool = False  #: True to forget earlier failures, so that an exhausted lead gets all of its attempts again.


class _Attempted(_Record, frozen=True, kw_only=True):
    """The outcome of one attempt to deliver a lead."""

    partner_id: str  #: The partner's id, as configured here.
    external_lead_id: str  #: The partner's id of the lead.
    attempt: int  #: The number of the attempt, counted from 1.
    version: int  #: Number of the lead's events.
    status: int | None = None  #: The HTTP status of the CRM's answer; absent if there was none.


class LeadDelivered(_Attempted, frozen=True, kw_only=True):
    """
    The partner's CRM has accepted a lead.

    No further attempt is made.
    """


class LeadDeliveryFailed(_Attempted, frozen=True, kw_only=True):
    """
    An attempt to deliver a lead has failed.

    If `nextAttemptAt` is absent, no attempt follows.
    """

    error: str  #: The stable word for the error.
    next_attempt_at: Moment | None = None  #: When the next attempt is due; absent if this was the last one.


class LeadDeliveryExhausted(_Attempted, frozen=True, kw_only=True):
    """
    The last allowed attempt to deliver a lead has failed.

    An operator can start a new round of attempts with `POST /v1/admin/dead-letters/{id}/retry`.
    """

    error: str  #: The stable word for the last error.
