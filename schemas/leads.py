"""
A partner's lead: how it comes in, how it is to be delivered, what became of it.

A lead's id is the id of the event that brought it, and the subject of all its events.
"""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from schemas.text import Line, PartnerId

RECEIVED: Final = "lead.partner.received"
DELIVER: Final = "lead.deliver"

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Unknown fields are ignored, so that a reader outlives the addition of one."""


class LeadReceived(_Record, frozen=True, kw_only=True):
    """What the partner sent; the data of the event is the body as it came, byte for byte."""

    partner_id: PartnerId
    external_lead_id: Line
    payload: dict[str, Any]


class DeliverLead(_Record, frozen=True, kw_only=True):
    """
    Make the attempt of that number now; where it is made already, tell how it went.

    `afresh` forgets the failures before it, so that a lead that was given up has all of its attempts again.
    """

    lead_id: UUID
    partner_id: PartnerId
    attempt: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    metadata: dict[str, Any] = {}
    afresh: bool = False


class _Attempted(_Record, frozen=True, kw_only=True):
    """One attempt has ended; `version` counts the events behind the lead."""

    partner_id: str
    external_lead_id: str
    attempt: int
    version: int
    status: int | None = None
    """The status of the answer, where there was one."""


class LeadDelivered(_Attempted, frozen=True, kw_only=True):
    """The partner's CRM has taken it."""


class LeadDeliveryFailed(_Attempted, frozen=True, kw_only=True):
    """An attempt failed; without `next_attempt_at` it was the last one."""

    error: str
    next_attempt_at: Moment | None = None


class LeadDeliveryExhausted(_Attempted, frozen=True, kw_only=True):
    """The last attempt allowed has failed: nothing more happens by itself."""

    error: str
