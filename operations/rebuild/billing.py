"""Rebuild payments, refunds, disputes, subscriptions, invoices, their history, and the paid half of reconciliations."""

from typing import Final

from operations.rebuild.sources import Events, Part, Source
from projections.tables import disputes, history, invoices, payments, reconciliations, refunds, subscriptions
from schemas.topology import worker
from streams.payments.handler import PaymentsHandler

KINDS: Final = {
    "payments": (payments, "payment"),
    "refunds": (refunds, "refund"),
    "disputes": (disputes, "dispute"),
    "subscriptions": (subscriptions, "subscription"),
    "invoices": (invoices, "invoice"),
}
_TABLES: Final = (*KINDS, "history", "reconciliations")

# An event has had its effects if it has a mark and was not set aside as a dead letter, or if it is in the history.
_WANTED: Final = """
select event_id, 0 from public.consumed c where consumer = 'payments' and not exists (
  select from public.dead_letters d where d.event_id = c.event_id and d.consumer = 'payments' and d.status <> 'retried')
union select event_id, 0 from public.history where aggregate_type <> 'lead'
"""

# The number of known events of an aggregate, and whether one of them could not be handled in the shadow.
_LINES: Final = """
left join (
  select h.aggregate_id, count(*) as known, bool_or(w.event_id is null) as partial
  from public.history h left join {{shadow}}.wanted w on w.event_id = h.event_id and w.done
  where h.aggregate_type = '{kind}' group by 1) n on n.aggregate_id = coalesce(l.id, s.id)
cross join (select uuid_extract_timestamp((select id from public.outbox order by id limit 1)) as begins) o
"""
_VERDICT: Final = """
case
  when l.id is null then case when n.partial then 'lost' else 'missing' end
  when n.partial then 'kept'
  when s.id is null then case when coalesce(n.known, 0) < l.version and l.updated_at < o.begins then 'kept' else 'extra' end
  when l.version < s.version then 'behind'
  when l.version > s.version and coalesce(n.known, 0) < l.version then 'kept'
  else 'different'
end
"""
_UNSEEN: Final = """
select 'lost', h.aggregate_id, '' from public.history h
  left join {{shadow}}.wanted w on w.event_id = h.event_id and w.done
where h.aggregate_type = '{kind}' and not exists (select from {{live}} l where l.id = h.aggregate_id)
  and not exists (select from {{shadow}}.{{table}} s where s.id = h.aggregate_id)
group by h.aggregate_id having bool_or(w.event_id is null)
"""
HISTORY_VERDICT: Final = """
case when l.event_id is null then 'missing' when s.event_id is null then 'kept' else 'different' end
"""


def source(names: set[str]) -> Source:
    """Return the tables of these projections, each together with its rows of the history."""
    asked = {name: KINDS[name] for name in KINDS if name in names}
    kinds = [kind for _, kind in KINDS.values()] if "history" in names else [kind for _, kind in asked.values()]
    lines = Part(history, HISTORY_VERDICT, only=f"aggregate_type in ({', '.join(map(repr, kinds))})")
    return Source(
        name="payments",
        tables=_TABLES,
        parts=[*(_part(name) for name in asked), lines],
        locks=[*asked, *(["history"] if "history" in names else [])],
        events=Events(PaymentsHandler(), _WANTED, worker("payments").consumes, erased_too=True),
        needs=["history"],
    )


def _part(name: str) -> Part:
    table, kind = KINDS[name]
    return Part(table, _VERDICT, joins=_LINES.format(kind=kind), unseen=_UNSEEN.format(kind=kind), json="state")


# A payment that has succeeded makes the paid half of its reference; of several payments, the one with the smallest id.
_PAID: Final = """
insert into {shadow}.reconciliations
  (reference, expected_amount, expected_currency, user_id, payment_id, paid_amount, paid_currency)
select coalesce(e.reference, p.reference), e.expected_amount, e.expected_currency, e.user_id, p.id, p.amount, p.currency
from (select * from {live_reconciliations} where expected_amount is not null) e full join (
  select distinct on (reference) reference, id, amount, currency from public.payments
  where status in ('succeeded', 'partially_refunded', 'refunded') and currency <> 'xxx' order by reference, id collate "C") p
  on p.reference = e.reference
"""
_PAID_VERDICT: Final = """
case when l.reference is null then 'missing' when s.reference is null then 'extra' when l.payment_id is null then 'behind'
  else 'different' end
"""


def paid_source() -> Source:
    """Return the source of the paid halves, which follow from the payments; the expected halves are in no log, and stay."""
    return Source(
        name="reconciliations",
        tables=["reconciliations"],
        parts=[Part(reconciliations, _PAID_VERDICT)],
        locks=["payments", "reconciliations"],
        seed=["truncate {shadow}.reconciliations", _PAID],
        needs=["payments"],
        not_in_log="the expected amounts and their users (have the expectations sent again)",
    )
