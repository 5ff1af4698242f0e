"""Rebuild the leads of partners and their attempts, as their events state them."""

from collections.abc import Sequence
from typing import Final

from psycopg import AsyncConnection

from operations.rebuild.billing import HISTORY_VERDICT
from operations.rebuild.sources import Events, Part, Source
from outbox.erased import is_marker
from projections.leads import lead_attempts, leads
from projections.tables import history
from schemas.envelope import Event
from schemas.topics import Topic
from streams.leads.handler import LeadsHandler

_RANK: Final = "(coalesce({}.type, '') <> 'lead.partner.received')::int"
# The worker marks events of all topics that it reads. Events that it emits have the lead as their cause, whether the worker has
# read them back or not.
_WANTED: Final = f"""
with marked as (
  select event_id from public.consumed c where consumer = 'leads' and not exists (
    select from public.dead_letters d where d.event_id = c.event_id and d.consumer = 'leads' and d.status <> 'retried')
  union select event_id from public.history where aggregate_type = 'lead')
select event_id, {_RANK.format("o")} from marked left join public.outbox o on o.id = event_id
union select o.id, 1 from marked join public.outbox o on o.causation_id = event_id where o.topic = 'lead.partner.events'
"""
# An attempt may have been made for any due lead without an event of it: an operator has to decide whether to repeat it.
_HOLD: Final = """
update {shadow}.leads set suppressed = 'replay', next_attempt_at = null
where status in ('received', 'retrying') and next_attempt_at <= now()
"""
# Rows that the upkeep has deleted are not restored.
_FORGET: Final = """
with gone as (
  delete from {shadow}.leads where next_attempt_at is null and suppressed is null
    and updated_at < (select cutoff from public.retention_cutoffs where kind = 'leads') returning id),
attempts as (delete from {shadow}.lead_attempts using gone where lead_id = gone.id)
delete from {shadow}.history h using gone where h.aggregate_type = 'lead' and h.aggregate_id = gone.id::text
"""
_VERDICT: Final = f"""
case
  when l.id is null then 'missing'
  when s.id is null or {is_marker("l.payload")} or l.version > s.version then 'kept'
  when l.version < s.version then case when l.status = 'delivering' then 'kept' else 'behind' end
  else 'different'
end
"""
_STATED: Final = ("partner", "partner_id", "external_lead_id", "payload", "traceparent", "received_at", "version")
_SETTLED: Final = "('delivered', 'exhausted', 'rejected')"
_DIFFERS: Final = f"l.status in {_SETTLED} and s.status in {_SETTLED} and l.status <> s.status"
_UNSEEN: Final = """
select distinct 'lost', aggregate_id::uuid from public.history h where aggregate_type = 'lead'
  and not exists (select from {live} l where l.id::text = h.aggregate_id)
  and not exists (select from {shadow}.leads s where s.id::text = h.aggregate_id)
"""
_OF_ATTEMPTS: Final = """
case when l.lead_id is null then 'missing' when s.lead_id is null then 'kept' when l.ended_at is null then 'behind'
  else 'different' end
"""
_OUTCOME: Final = ("ended_at", "status", "error", "next_attempt_at")


class RestoredLeads:
    """Writes leads as their events state them, with their due times, as a `streams.role.Handler`."""

    consumer: Final = LeadsHandler.consumer

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        await LeadsHandler().rebuild(connection, events)


def source(names: set[str], *, effects: bool) -> Source:
    """Return the source; without `effects`, leads that may have been attempted are held back until an operator delivers them."""
    whole = "leads" in names
    lines = Part(history, HISTORY_VERDICT, only="aggregate_type = 'lead'")
    own = [
        Part(leads, _VERDICT, compared=_STATED, differs=_DIFFERS, unseen=_UNSEEN),
        Part(lead_attempts, _OF_ATTEMPTS, compared=_OUTCOME, updated=_OUTCOME),
    ]
    return Source(
        name="leads",
        tables=["leads", "lead_attempts", "history"],
        parts=[*(own if whole else []), lines],
        locks=["leads", "lead_attempts"] if whole else ["history"],
        events=Events(RestoredLeads(), _WANTED, (Topic.PARTNER_LEADS,)),
        finish=[*([] if effects else [_HOLD]), _FORGET],
        needs=["history"],
        not_in_log="when an attempt began, the CRM's answer, and attempts that were interrupted" if whole else "",
    )
