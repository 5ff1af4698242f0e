"""How attempts that have ended are written down, many to a commit; what cannot be written costs its own lead and no other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from outbox import tasks
from outbox.alerts import PARTNER_FAILING, note, tally
from outbox.append import append
from runtime import spans
from runtime.database import Pool
from runtime.tracing import Trace, parse_traceparent
from streams.leads import store
from streams.leads.decisions import Exhausted, Rejected
from streams.leads.outcomes import Ended, alert_of, outcome_of
from streams.processor import passing_reason

log = structlog.get_logger()

UNWRITABLE: Final = "outcome_unwritable"


async def settle(pool: Pool, batch: Sequence[Ended]) -> int:
    """
    Write down what has ended, in one transaction where that can be; returns how many of them still were their lead's attempt.

    Raises only what may pass later (`passing_reason`): the same batch may then be handed in again.
    """
    try:
        with spans.unit(_causes(batch)):
            return await _write_down(pool, batch)
    except Exception as error:
        if passing_reason(error) is not None:
            raise
        if len(batch) == 1:
            return await _settle_culprit(pool, batch[0], error)
    middle = len(batch) // 2
    return await settle(pool, batch[:middle]) + await settle(pool, batch[middle:])


async def _settle_culprit(pool: Pool, ended: Ended, error: Exception) -> int:
    """
    Write the outcome down without the CRM's words; where even that fails, give up a lead that is at its end.

    Any other one is let go: its claim runs out, which counts as an interruption, and those have a bound.
    """
    lead = ended.lead
    log.error(UNWRITABLE, reason=UNWRITABLE, lead=str(lead.id), partner=lead.partner, exc_info=error)
    plain = ended._replace(answer=ended.answer._replace(error=ended.answer.error and UNWRITABLE, excerpt=None))
    try:
        return await _write_down(pool, [plain])
    except Exception as again:
        if passing_reason(again) is not None:
            raise
    if not isinstance(ended.decision, Exhausted | Rejected):
        return 0
    return int(await _give_up(pool, ended))


async def _give_up(pool: Pool, ended: Ended) -> bool:
    """Set the lead aside with its alert, the one event that can be written of it."""
    async with pool.connection() as connection, connection.transaction():
        held = await store.give_up(connection, ended.lead, UNWRITABLE, ended.at)
        if held and (alert := alert_of(ended)):
            await append(connection, [alert])
        return held


async def _write_down(pool: Pool, batch: Sequence[Ended]) -> int:
    async with pool.connection() as connection, connection.transaction():
        standings = await store.lock(connection, [ended.lead.id for ended in batch])
        current = [each for each in batch if _is_current(each, standings)]
        outcomes = [outcome_of(each, standings[each.lead.id].version) for each in current]
        if outcomes:
            await store.move(connection, [outcome.move for outcome in outcomes])
            events = [event for outcome in outcomes for event in outcome.events]
            await store.remember(connection, events)
            await append(connection, events + [outcome.alert for outcome in outcomes if outcome.alert])
        await _count(connection, current)
        for ended in current:
            result = {"delivered": ended.answer.delivered, "attempt": ended.lead.attempt}
            for task_id in standings[ended.lead.id].task_ids:
                await tasks.finish(connection, task_id, result)
    return len(current)


async def _count(connection: AsyncConnection, ended: Sequence[Ended]) -> None:
    """Attempts, and those that failed, by partner: where too many of them do, that is an alert."""
    if ended:
        await tally(connection, PARTNER_FAILING, Counter(each.lead.partner for each in ended))
    failed = Counter(each.lead.partner for each in ended if not each.answer.delivered)
    for partner, number in sorted(failed.items()):  # one order, so that two dispatchers do not deadlock
        await note(connection, PARTNER_FAILING, partner, number)


def _is_current(ended: Ended, standings: Mapping[UUID, store.Standing]) -> bool:
    """Whether the attempt still is the lead's: one whose claim ran out has been told as interrupted, and another has begun."""
    standing = standings.get(ended.lead.id)
    return standing is not None and (standing.attempts, standing.status) == (ended.lead.attempt, "delivering")


def _causes(batch: Sequence[Ended]) -> dict[UUID, Trace]:
    """The spans of the events that brought the leads."""
    return {each.lead.id: cause for each in batch if (cause := parse_traceparent(each.lead.traceparent))} if spans.on() else {}
