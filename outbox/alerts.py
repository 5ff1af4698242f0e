"""
Conditions that need an operator: counted in the transaction that causes them, and raised once per window.

Counts live in Postgres, so that they survive restarts, are exact under repeats, and add up over all processes.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
from psycopg import AsyncConnection, Connection

from outbox.append import append, event_of
from runtime.ids import id_at
from runtime.tracing import new_trace
from schemas.envelope import Event
from schemas.operations import AlertRaised

Detail = str | Callable[[], Awaitable[str]]


class Condition(NamedTuple):
    """
    An alert that is raised when `threshold` occurrences about one subject fall into one window.

    With a `min_ratio` they must also be that part of all possible occurrences, which `count_possible` counts.
    """

    alert: str
    threshold: int
    window: timedelta
    summary: str
    runbook: str
    min_ratio: float = 0.0


SIGNATURE_FAILURES: Final = Condition(
    "signature_failures",
    20,
    timedelta(minutes=5),
    "deliveries that claim to be from {subject} fail their signature check: {count} within {minutes} minutes{detail}",
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
    "deliveries to partner {subject} fail: {count} of {total} attempts within {minutes} minutes",
    "runbooks/partner-down.md",
    min_ratio=0.25,
)
WEBHOOKS_UNSETTLED: Final = Condition(
    "webhooks_unsettled",
    1,
    timedelta(hours=1),
    "{count} webhooks from {subject} were accepted long ago and have had no effect yet",
    "runbooks/ledger.md",
)
LEDGER_UNBALANCED: Final = Condition(
    "ledger_unbalanced",
    1,
    timedelta(hours=1),
    "the ledger of {subject} does not balance: the counterparts of {count} rows are missing",
    "runbooks/ledger.md",
)
CLOCK_SKEWED: Final = Condition(
    "clock_skewed",
    1,
    timedelta(hours=1),
    "expired records are not deleted: {detail}",
    "runbooks/clock.md",
)
RETENTION_BEHIND: Final = Condition(
    "retention_behind",
    1,
    timedelta(days=1),
    "{count} days of records are due to be deleted, and one is deleted per hour: no relay ran, or a setting or clock changed",
    "runbooks/retention.md",
)
CONFIG_IGNORED: Final = Condition(
    "config_ignored",
    1,
    timedelta(hours=1),
    "the value of {subject} in the runtime configuration cannot be used: the previous value stays in effect",
    "runbooks/internal-door.md",
)
RECORDS_LOST: Final = Condition(
    "records_lost",
    1,
    timedelta(hours=1),
    "Kafka has lost records before they were read, up to {count}: {detail}; what the log still has is sent again",
    "runbooks/records-lost.md",
)

CONDITIONS: Final = (
    SIGNATURE_FAILURES,
    DEAD_LETTERS,
    PARTNER_FAILING,
    WEBHOOKS_UNSETTLED,
    LEDGER_UNBALANCED,
    CLOCK_SKEWED,
    RETENTION_BEHIND,
    CONFIG_IGNORED,
    RECORDS_LOST,
)
RUNBOOKS: Final = {each.alert: each.runbook for each in CONDITIONS}
WINDOWS: Final = {each.alert: each.window for each in CONDITIONS}

_STARTED: Final = "date_bin(%(window)s, coalesce(%(now)s, now()), timestamptz 'epoch')"
_COUNT: Final = f"""
insert into alert_windows as w (alert, subject, started_at, count) values (%(alert)s, %(subject)s, {_STARTED}, %(number)s)
on conflict (alert, subject, started_at) do update set count = w.count + excluded.count
returning count, raised_at is not null, started_at, clock_timestamp()
"""
# Rows are locked in one order, so that two processes wait for each other instead of deadlocking.
_COUNT_POSSIBLE: Final = f"""
insert into alert_windows as w (alert, subject, started_at, count)
select %(alert)s, subject, {_STARTED}, number
from unnest(%(subjects)s::text[], %(numbers)s::int8[]) as t(subject, number) order by subject
on conflict (alert, subject, started_at) do update set count = w.count + excluded.count
"""
_TOTAL: Final = "select count from alert_windows where alert = %s and subject = %s and started_at = %s"
_RAISED: Final = "update alert_windows set raised_at = now() where alert = %s and subject = %s and started_at = %s"


async def count_occurrences(  # the condition, the occurrence, and what a test passes in
    connection: AsyncConnection,
    condition: Condition,
    subject: str,
    number: int = 1,
    now: datetime | None = None,
    *,
    detail: Detail = "",
) -> bool:
    """
    Count occurrences, in the caller's transaction if one is open, and append the alert when they reach the threshold.

    Returns True if this call raised the alert. `detail` completes the summary; if it is a function, it is called only then.
    The row of the window stays locked until the transaction ends, so no two transactions raise the same alert.
    Windows follow Postgres' clock unless `now` is given. The alert's id always does: a process whose own clock is wrong must
    still be able to raise an alert.
    """
    values = {"alert": condition.alert, "subject": subject, "window": condition.window, "now": now, "number": number}
    async with connection.transaction():
        row = await (await connection.execute(_COUNT, values)).fetchone()
        assert row is not None  # noqa: S101  # the statement inserts or updates one row
        count, raised, started, moment = row
        if raised or count < condition.threshold:
            return False
        key = (condition.alert, subject, started)
        total = await _total(connection, condition, key) if condition.min_ratio else count
        if count < condition.min_ratio * total:
            return False
        await connection.execute(_RAISED, key)
        facts = {"count": count, "total": total, "detail": detail if isinstance(detail, str) else await detail()}
        await append(connection, [_alert(condition, subject, facts, moment)])
        return True


async def count_possible(
    connection: AsyncConnection, condition: Condition, numbers: Mapping[str, int], now: datetime | None = None
) -> None:
    """Count all possible occurrences by subject, in the caller's transaction and before the actual ones are counted."""
    values = {"alert": _total_of(condition), "window": condition.window, "now": now}
    await connection.execute(_COUNT_POSSIBLE, values | {"subjects": list(numbers), "numbers": list(numbers.values())})


async def _total(connection: AsyncConnection, condition: Condition, key: tuple[str, str, datetime]) -> int:
    row = await (await connection.execute(_TOTAL, (_total_of(condition), *key[1:]))).fetchone()
    return row[0] if row else 0


def _total_of(condition: Condition) -> str:
    """Return the name of the windows that count all possible occurrences."""
    return f"{condition.alert}_total"


def _alert(condition: Condition, subject: str, facts: Mapping[str, object], moment: datetime) -> Event:
    minutes = int(condition.window.total_seconds() // 60)
    alert = AlertRaised(
        alert=condition.alert,
        subject=subject,
        summary=condition.summary.format(subject=subject, minutes=minutes, **facts),
        runbook=condition.runbook,
    )
    event = event_of(alert, aggregate_id=alert.alert, source="/alerts", occurred_at=moment, trace=new_trace())
    return msgspec.structs.replace(event, id=id_at(moment))


def window_of(moment: datetime, window: timedelta) -> datetime:
    """Return the start of the window that contains the moment; windows start at multiples of their length since the epoch."""
    seconds = window.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, tz=UTC)


def delete_windows(connection: Connection, before: datetime) -> int:
    """Delete the windows that began before this time, and return their number."""
    return connection.execute("delete from alert_windows where started_at < %s", (before,)).rowcount
