"""Sends alerts to a web hook of the operators, signed by Standard Webhooks; the number of attempts is bounded."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import msgspec
import structlog
from prometheus_client import Counter
from psycopg import AsyncConnection
from psycopg.rows import class_row

from runtime.database import Pool
from runtime.excerpts import described
from runtime.heartbeat import Heartbeat, now
from runtime.settings import Secret
from schemas.envelope import Event
from schemas.operations import AlertRaised
from streams.due import RECALLED_MAX, DueSender, SenderNames, announce
from streams.leads.crm import Crm, Request, signed_headers

log = structlog.get_logger()

DUE_CHANNEL: Final = "alert_webhooks_due"
ATTEMPTS_MAX: Final = 15
"""All attempts take about an hour: the pauses double from a second to ten minutes."""
_PAUSES: Final = (1.0, 600.0)
_LIMIT: Final = 4
_POLL: Final = timedelta(seconds=1)

ATTEMPTS: Final = Counter(
    "tallyhook_alert_webhook_attempts_total", "Attempts to send an alert to ALERT_WEBHOOK_URL, by outcome.", ["outcome"]
)


class Hook(Protocol):
    """The settings of the web hook, as they are now."""

    alert_webhook_url: str | None
    alert_webhook_secret: tuple[Secret, ...]


class Waiting(NamedTuple):
    """An alert that this worker sends."""

    id: UUID
    body: bytes
    attempts: int


class Ended(NamedTuple):
    """An attempt that is over; without an error, the alert was accepted."""

    row: Waiting
    error: str | None = None


class _Message(msgspec.Struct, frozen=True):
    type: str
    timestamp: datetime
    data: AlertRaised


_ENQUEUE: Final = """
insert into alert_webhooks (id, body, attempts, next_attempt_at) values (%s, %s, 0, now()) on conflict do nothing
"""
_CLAIM: Final = """
with due as materialized (
  select id from alert_webhooks where next_attempt_at <= now() order by next_attempt_at limit %s for update skip locked)
update alert_webhooks a set attempts = attempts + 1, next_attempt_at = now() + %s from due where a.id = due.id
returning a.id, a.body, a.attempts
"""
_NEXT: Final = "select extract(epoch from min(next_attempt_at) - now())::float8 from alert_webhooks where next_attempt_at > now()"
_RENEW: Final = """
update alert_webhooks a set next_attempt_at = now() + %s from unnest(%s::uuid[], %s::int4[]) as v(id, attempts)
where a.id = v.id and a.attempts = v.attempts returning a.id
"""
_RECALL: Final = f"""
update alert_webhooks set next_attempt_at = now() + %s where id in (
  select id from alert_webhooks where next_attempt_at > now() + %s limit {RECALLED_MAX} for update skip locked)
"""
_RETRY: Final = "update alert_webhooks set next_attempt_at = now() + %s, error = %s where id = %s and attempts = %s"
_REMOVE: Final = "delete from alert_webhooks where id = %s and attempts = %s"


async def enqueue(connection: AsyncConnection, event: Event, alert: AlertRaised) -> None:
    """Store an alert that is due now, in the open transaction; the same event again changes nothing."""
    body = msgspec.json.encode(_Message(event.type, event.occurred_at.astimezone(UTC), alert))
    await connection.execute(_ENQUEUE, (event.id, body))
    await announce(connection, DUE_CHANNEL)


class AlertWebhook(DueSender[Waiting, Ended]):
    """The attempts of this worker; every attempt at an alert has the same message id and body."""

    def __init__(self, pool: Pool, crm: Crm, hook: Callable[[], Hook], *, lease: timedelta) -> None:
        names = SenderNames("alert web hook", "waiting", "alerts_unsettled")
        longest = timedelta(seconds=_PAUSES[1])
        super().__init__(pool, names, Heartbeat("alert web hook"), lease=lease, poll=_POLL, longest=longest)
        self._crm = crm
        self._hook = hook

    async def begin(self, connection: AsyncConnection) -> int:
        if not self._hook().alert_webhook_url or not (room := _LIMIT - len(self._under_way)):
            return 0  # the address may be set later, or set again
        claimed_at = now()
        async with connection.cursor(row_factory=class_row(Waiting)) as cursor:
            rows = await (await cursor.execute(_CLAIM, (room, self._claims.duration))).fetchall()
        self.start(rows, claimed_at)
        return len(rows)

    async def next_due(self, connection: AsyncConnection) -> float | None:
        row = await (await connection.execute(_NEXT)).fetchone()
        return row[0] if row else None

    async def renew(self, connection: AsyncConnection, rows: Collection[Waiting]) -> Iterable[UUID]:
        columns = [row.id for row in rows], [row.attempts for row in rows]
        return [row[0] for row in await (await connection.execute(_RENEW, (self._claims.duration, *columns))).fetchall()]

    async def recall(self, connection: AsyncConnection, after: timedelta, within: timedelta) -> None:
        await connection.execute(_RECALL, (within, after))

    def without_attempt(self, row: Waiting) -> Ended | None:
        return Ended(row, "attempts_exhausted") if row.attempts > ATTEMPTS_MAX else None

    async def attempt(self, row: Waiting, check: Callable[[], None]) -> Ended:
        hook = self._hook()
        secrets = [secret.value for secret in hook.alert_webhook_secret]
        headers = signed_headers(str(row.id), bytes(row.body), secrets, datetime.now(UTC))
        answer = await self._crm.post(Request(hook.alert_webhook_url or "", headers, bytes(row.body)), check=check)
        return Ended(row, None if answer.delivered else answer.error or "attempt_failed")

    def after_error(self, row: Waiting, error: BaseException) -> Ended:
        log.error("attempt_failed", reason="attempt_failed", alert=str(row.id), error=described(error), exc_info=error)
        return Ended(row, "attempt_failed")

    async def settle(self, ended: Sequence[Ended]) -> int:
        async with self._pool.connection() as connection, connection.transaction():
            for each in ended:
                await _write(connection, each)
        return len(ended)


async def _write(connection: AsyncConnection, ended: Ended) -> None:
    row, error = ended
    if error is None:
        ATTEMPTS.labels("delivered").inc()
        await connection.execute(_REMOVE, (row.id, row.attempts))
    elif row.attempts >= ATTEMPTS_MAX:
        ATTEMPTS.labels("failed").inc()
        log.error("alert_webhook_given_up", reason="attempts_exhausted", alert=str(row.id), error=error)
        await connection.execute(_REMOVE, (row.id, row.attempts))
    else:
        ATTEMPTS.labels("retried").inc()
        first, longest = _PAUSES
        pause = timedelta(seconds=min(longest, first * 2 ** (row.attempts - 1)))
        log.warning("attempt_failed", reason=error, alert=str(row.id), attempt=row.attempts)
        await connection.execute(_RETRY, (pause, error, row.id, row.attempts))
