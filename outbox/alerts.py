"""
Conditions that somebody should look at: counted in the transaction of what is counted, told once a window.

Counts live in Postgres, so that they survive whoever counts, are exact under repeats, and add up over all processes.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from psycopg import AsyncConnection, Connection

from outbox.append import NewEvent, append, event_of
from runtime.tracing import new_trace
from schemas.operations import AlertRaised


class Condition(NamedTuple):
    """So many occurrences about one subject within a window are an alert."""

    alert: str
    threshold: int
    window: timedelta
    summary: str
    runbook: str


SIGNATURE_FAILURES: Final = Condition(
    "signature_failures",
    20,
    timedelta(minutes=5),
    "deliveries that claim to be from {subject} fail their signature check: {count} within {minutes} minutes",
    "runbooks/signature-failures.md",
)
DEAD_LETTERS: Final = Condition(
    "dead_letters",
    1,
    timedelta(minutes=5),
    "the {subject} worker sets events aside",
    "runbooks/dead-letters.md",
)
PARTNER_FAILING: Final = Condition(
    "partner_failing",
    10,
    timedelta(minutes=5),
    "deliveries to partner {subject} fail: {count} attempts within {minutes} minutes",
    "runbooks/lead-delivery.md",
)
WEBHOOKS_UNSETTLED: Final = Condition(
    "webhooks_unsettled",
    1,
    timedelta(hours=1),
    "webhooks from {subject} have been taken long ago and have had no effect yet: {count} of them",
    "runbooks/ledger.md",
)
LEDGER_UNBALANCED: Final = Condition(
    "ledger_unbalanced",
    1,
    timedelta(hours=1),
    "the ledger of {subject} does not balance: {count} rows miss their other half",
    "runbooks/ledger.md",
)

_COUNT: Final = """
insert into alert_windows as w (alert, subject, started_at, count) values (%s, %s, %s, %s)
on conflict (alert, subject, started_at) do update set count = w.count + excluded.count
returning count, raised_at is not null
"""
_RAISED: Final = "update alert_windows set raised_at = now() where alert = %s and subject = %s and started_at = %s"


async def note(
    connection: AsyncConnection, condition: Condition, subject: str, number: int = 1, now: datetime | None = None
) -> bool:
    """
    Count occurrences, in the caller's transaction where one is open, and append the alert when they reach the threshold.

    True when this call did. The row of the window stays locked until the transaction ends, so no two can both find it reached.
    """
    key = (condition.alert, subject, window_of(now or datetime.now(UTC), condition.window))
    async with connection.transaction():
        row = await (await connection.execute(_COUNT, (*key, number))).fetchone()
        count, raised = row or (0, False)
        if raised or count < condition.threshold:
            return False
        await connection.execute(_RAISED, key)
        await append(connection, [_alert(condition, subject, count)])
        return True


def _alert(condition: Condition, subject: str, count: int) -> NewEvent:
    minutes = int(condition.window.total_seconds() // 60)
    alert = AlertRaised(
        alert=condition.alert,
        subject=subject,
        summary=condition.summary.format(subject=subject, count=count, minutes=minutes),
        runbook=condition.runbook,
    )
    return event_of(alert, aggregate_id=alert.alert, source="/alerts", occurred_at=datetime.now(UTC), trace=new_trace())


def window_of(moment: datetime, window: timedelta) -> datetime:
    """When the window that holds the moment began: windows tumble, and begin at whole multiples of their length."""
    seconds = window.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, tz=UTC)


def forget_windows(connection: Connection, before: datetime) -> int:
    """Delete the windows that began before; how many."""
    return connection.execute("delete from alert_windows where started_at < %s", (before,)).rowcount
