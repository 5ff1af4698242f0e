"""
The state of each webhook, as the ledger, its sweep, and the parameter `settled` of the delivery log need it.

The first of the `RULES` that is true decides. The ledger evaluates them for all webhooks of a period in one query; `condition`
evaluates them row by row in the delivery log, so that Postgres can stop at the end of a page.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Literal

from psycopg import AsyncConnection

from runtime.ids import first_id_of
from schemas.providers import providers

SETTLED_BY: Final[dict[str, str]] = {**{provider.name: provider.settled_by for provider in providers()}, "partner": "leads"}
"""The consumer whose mark shows that a webhook of the source has had its effects, by source."""

Settled = Literal["processed", "inFlight", "deadLettered", "ignored", "missing"]
"""The states of a delivery that was stored."""

_AHEAD: Final = timedelta(minutes=1)  # other gateways' clocks may be ahead

# A letter that is not retried comes before the mark, since an event that became a dead letter is marked too.
RULES: Final[tuple[tuple[str, str], ...]] = (
    ("rejected", "outcome = 'rejected'"),
    ("duplicate", "outcome = 'duplicate'"),
    ("missing", "not {event}"),
    ("deadLettered", "{letter}"),
    ("processed", "{mark}"),
    ("ignored", "outcome = 'ignored'"),
    ("deadLettered", "{parked}"),
    ("inFlight", "true"),
)
_CASE: Final = " ".join(f"when {test} then '{state}'" for state, test in RULES).format(
    event="(joined.event_id is not null)", letter="letters.id is not null", mark="marks.id is not null", parked="waiting.parked"
)

_SPAN: Final = "id >= %(first)s and id < %(before)s"
_ROWS: Final = f"""(
with log as (select id, source, endpoint, outcome, recovered_as is not null as recovered from webhook_deliveries where {{scope}}),
events as (select id, substr(source, 11) as source, endpoint from outbox where {{scope}} and starts_with(source, '/webhooks/')),
settlers as (select * from unnest(%(sources)s::text[], %(consumers)s::text[]) as t(source, consumer)),
marks as (select id, consumer from (select event_id as id, consumer from consumed) c
  where {{scope}} and consumer = any(%(consumers)s::text[])),
letters as (select id, consumer, bool_or(status = 'discarded') as discarded
  from (select event_id as id, consumer, status from dead_letters where event_id is not null and status <> 'retried') d
  where {{scope}} group by 1, 2),
waiting as (select id, bool_or(parked_at is not null) as parked from (select event_id as id, parked_at from outbox_pending) p
  where {{scope}} group by 1),
joined as (
  select coalesce(log.id, events.id) as id, coalesce(log.source, events.source) as source,
         coalesce(log.endpoint, events.endpoint) as endpoint, log.outcome,
         log.recovered, log.id is not null as logged, events.id as event_id
  from log full join events on events.id = log.id)
select joined.id, joined.source, joined.endpoint, logged, recovered, waiting.id is not null as waiting,
  coalesce(waiting.parked, false) as parked, coalesce(letters.discarded, false) as discarded, case {_CASE} end as state
from joined left join settlers on settlers.source = joined.source
  left join marks on marks.id = joined.event_id and marks.consumer = settlers.consumer
  left join letters on letters.id = joined.event_id and letters.consumer = settlers.consumer
  left join waiting on waiting.id = joined.event_id) rows
"""

OF_SPAN: Final = _ROWS.format(scope=_SPAN)
"""A relation with one row, and its state, for each delivery or event of the span in `span_values`."""
_OLDEST_FINDING: Final = "select event_id from ledger_findings order by event_id limit 1"
OF_FINDINGS: Final = _ROWS.format(scope=f"{_SPAN} and id >= ({_OLDEST_FINDING}) and id in (select event_id from ledger_findings)")
"""
The same for the findings of the sweep; the scope limits each table, so that days without findings are not read.

After an outage there are many findings: then whole days are read, but none from before the oldest finding.
"""

TIME_OF: Final = "to_timestamp(('x' || translate(left({id}::text, 13), '-', ''))::bit(48)::int8 / 1000.0)"
"""The time of an id: the upper 48 bits of a UUIDv7."""

# The same tests for one row `d` of the delivery log. Postgres runs a subquery that does not refer to the row only once.
# The span is repeated for the daily tables, since Postgres may join them by merging: without it, the merge began with the newest
# day, which took 6 s for a page in the middle of 30 million.
_WITHIN: Final = "{id} >= %(first)s and {id} < %(before)s"
_ASKED: Final = {
    "event": f"exists (select from outbox o where o.id = d.id and {_WITHIN.format(id='o.id')})",
    "letter": "exists (select from dead_letters l where l.event_id = d.id and l.consumer = {settler} and l.status <> 'retried')",
    "mark": f"exists (select from consumed c where c.event_id = d.id and {_WITHIN.format(id='c.event_id')}"
    " and c.consumer = {settler})",
    "parked": "d.id in (select event_id from outbox_pending where parked_at is not null)",
}
# Few webhooks are dead-lettered or parked, and one query finds them all; without this, each row's event was looked up first.
_DEAD: Final = """d.id in (select event_id from dead_letters where event_id is not null and status <> 'retried'
  union all select event_id from outbox_pending where parked_at is not null)"""
_SETTLER: Final = f"case d.source {' '.join(f'when {source!r} then {by!r}' for source, by in SETTLED_BY.items())} end"


def condition(state: Settled) -> str:
    """
    Return the SQL condition for a row `d` of the delivery log in this state.

    Its parameters `first` and `before` are the span of the ids that are read.
    """
    tests = {name: text.format(settler=_SETTLER) for name, text in _ASKED.items()}
    found = _condition(state, [(name, test.format(**tests)) for name, test in RULES])
    return f"{_DEAD} and ({found})" if state == "deadLettered" else found


def span_values(begin: datetime, end: datetime) -> dict[str, Any]:
    """Return the parameters of the relations of this module."""
    return {
        "first": first_id_of(begin),
        "before": first_id_of(end),
        "sources": list(SETTLED_BY),
        "consumers": list(SETTLED_BY.values()),
    }


async def plan_for_spans(connection: AsyncConnection) -> None:
    """
    Let Postgres join the tables of a span by hash until the transaction ends.

    It has no statistics of a day that has just begun, expects one row per table, and would compare each webhook with all marks,
    which took 5 s for 15,000 of them.
    """
    await connection.execute("set local enable_nestloop = off")


def end_of_ids(now: datetime) -> datetime:
    """Return a time that is later than that of every id that any process can have made yet."""
    return now + _AHEAD


def _condition(state: str, rules: list[tuple[str, str]]) -> str:
    """Return the condition by the first rule, else by the others; rules after the last one of the state do not matter."""
    if state not in {name for name, _ in rules}:
        return ""
    (name, test), *others = rules
    later = _condition(state, others)
    if name == state:
        return f"({test} or {later})" if later else test
    return f"{test.removeprefix('not ') if test.startswith('not ') else f'not ({test})'} and {later}"
