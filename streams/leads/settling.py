"""Stores attempts that have ended, many per commit; one that cannot be stored affects its own lead and no other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from outbox import tasks
from outbox.alerts import PARTNER_FAILING, count_occurrences, count_possible
from outbox.append import append
from runtime import tracing
from runtime.database import Pool
from runtime.tracing import Trace, parse_traceparent
from streams.due import UNWRITABLE, settle_in_parts
from streams.leads import delivery_store, store
from streams.leads.decisions import Exhausted, Rejected
from streams.leads.outcomes import Ended, alert_of, outcome_of
from streams.processor import passing_reason

log = structlog.get_logger()


async def settle(pool: Pool, batch: Sequence[Ended]) -> int:
    """
    Store ended attempts, in one transaction if possible; return how many of them were still the current one of their lead.

    Raises only errors that may pass (`passing_reason`): the caller may then try the same batch again.
    """

    async def write(part: Sequence[Ended]) -> int:
        with tracing.transaction(_causes(part)):
            return await _store_ended(pool, part)

    return await settle_in_parts(batch, write, partial(_settle_culprit, pool))


async def _settle_culprit(pool: Pool, ended: Ended, error: Exception) -> int:
    """
    Store the outcome without the text of the CRM's answer; if even that fails, give up a lead that has no attempt left.

    Any other lead is left as it is: its claim runs out, which counts as an interruption, and their number is bounded.
    """
    lead = ended.lead
    log.error(UNWRITABLE, reason=UNWRITABLE, lead=str(lead.id), partner=lead.partner, exc_info=error)
    plain = ended._replace(answer=ended.answer._replace(error=ended.answer.error and UNWRITABLE, excerpt=None))
    try:
        return await _store_ended(pool, [plain])
    except Exception as again:
        if passing_reason(again) is not None:
            raise
    if not isinstance(ended.decision, Exhausted | Rejected):
        return 0
    return int(await _give_up(pool, ended))


async def _give_up(pool: Pool, ended: Ended) -> bool:
    """Give the lead up with its alert, the one event that can be written about it."""
    async with pool.connection() as connection, connection.transaction():
        held = await delivery_store.give_up(connection, ended.lead, UNWRITABLE, ended.at)
        if held and (alert := alert_of(ended)):
            await append(connection, [alert])
        return held


async def _store_ended(pool: Pool, batch: Sequence[Ended]) -> int:
    async with pool.connection() as connection, connection.transaction():
        locked = await store.lock(connection, [ended.lead.id for ended in batch])
        current = [each for each in batch if _is_current(each, locked)]
        outcomes = [outcome_of(each, locked[each.lead.id].version) for each in current]
        if outcomes:
            await delivery_store.move(connection, [outcome.move for outcome in outcomes])
            events = [event for outcome in outcomes for event in outcome.events]
            await delivery_store.add_history(connection, events)
            await append(connection, events + [outcome.alert for outcome in outcomes if outcome.alert])
        await _count(connection, current)
        for ended in current:
            result = {"delivered": ended.answer.delivered, "attempt": ended.lead.attempt}
            for task_id in locked[ended.lead.id].task_ids:
                await tasks.finish(connection, task_id, result)
    return len(current)


async def _count(connection: AsyncConnection, ended: Sequence[Ended]) -> None:
    """Count attempts and failed attempts by partner: too many failures raise an alert."""
    if ended:
        await count_possible(connection, PARTNER_FAILING, Counter(each.lead.partner for each in ended))
    failed = Counter(each.lead.partner for each in ended if not each.answer.delivered)
    for partner, number in sorted(failed.items()):  # one order, so that two dispatchers do not deadlock
        await count_occurrences(connection, PARTNER_FAILING, partner, number)


def _is_current(ended: Ended, locked: Mapping[UUID, store.LockedLead]) -> bool:
    """Return whether the attempt is still the lead's current one; if its claim ran out, another attempt has begun."""
    lead = locked.get(ended.lead.id)
    return lead is not None and (lead.attempts, lead.status) == (ended.lead.attempt, "delivering")


def _causes(batch: Sequence[Ended]) -> dict[UUID, Trace]:
    """Return, by lead, the span of the event that brought it."""
    return {each.lead.id: cause for each in batch if (cause := parse_traceparent(each.lead.traceparent))} if tracing.on() else {}
