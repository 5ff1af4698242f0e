"""Sends notifications that are due over one channel; the channels do not wait for each other."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from random import SystemRandom
from typing import Any, Final
from uuid import UUID

import structlog
from prometheus_client import Counter as Metric
from psycopg import AsyncConnection

from projections.config_view import Config
from runtime import tracing
from runtime.database import Pool
from runtime.excerpts import described, excerpt_of
from runtime.heartbeat import Heartbeat, now
from runtime.service import Hold
from runtime.tracing import continue_trace, parse_traceparent, span_id_of, trace_id_of
from schemas.operations import Channel, NotificationFailed, NotificationSent, NotificationSuppressed
from streams.claims import ClaimOver
from streams.due import UNWRITABLE, DueSender, SenderNames, settle_in_parts
from streams.notifications import store
from streams.notifications.decisions import Policy, RetryIn, after_failure
from streams.notifications.mails import Message
from streams.notifications.senders import Sender, SendFailed, SendReason
from streams.notifications.store import Ended, Notification, Retried
from streams.notifications.texts import Texts

log = structlog.get_logger()

ATTEMPTS: Final = Metric(
    "tallyhook_notification_attempts_total",
    "Attempts to hand a message to a provider, by outcome.",
    ["channel", "outcome"],
)

_SPACING: Final = 0.01
"""Seconds between two rounds: a commit for each message would cost more than to send it."""


class Dispatcher(DueSender[Notification, Ended]):
    """The attempts of one channel; none begins while the runtime configuration has `channel.<CHANNEL>.paused` true."""

    def __init__(
        self,
        channel: Channel,
        sender: Sender | None,
        pool: Pool,
        texts: Texts,
        policy: Policy,
        *,
        config: Config,
        limit: int,
        lease: timedelta,
        poll: timedelta,
        hold: Hold | None = None,
    ) -> None:
        names = SenderNames(f"notifications {channel}", "waiting", "notifications_unsettled")
        heartbeat, context = Heartbeat(f"sending of {channel}"), {"channel": channel}
        super().__init__(
            pool, names, heartbeat, lease=lease, poll=poll, longest=policy.longest, spacing=_SPACING, hold=hold, context=context
        )
        self.channel: Final[Channel] = channel
        self.sender = sender
        """It may be replaced: messages under way keep the old one. Without a sender no attempt begins."""
        self._texts = texts
        self._policy = policy
        self._config = config
        self._limit = limit
        self._random = SystemRandom()

    async def begin(self, connection: AsyncConnection) -> int:
        room = self._limit - len(self._under_way)
        if self.sender is None or not room or self._config.get(f"channel.{self.channel}.paused", False):
            return 0
        claimed_at = now()
        due = await store.claim(connection, self.channel, room, self._claims.duration)
        self.start(due, claimed_at)
        return len(due)

    async def next_due(self, connection: AsyncConnection) -> float | None:
        return await store.next_due(connection, self.channel)

    async def renew(self, connection: AsyncConnection, rows: Collection[Notification]) -> list[UUID]:
        return await store.renew(connection, rows, self._claims.duration)

    async def recall(self, connection: AsyncConnection, after: timedelta, within: timedelta) -> None:
        await store.recall(connection, self.channel, after, within)

    def without_attempt(self, row: Notification) -> Ended | None:
        if row.opted_out:
            unmade = row._replace(attempts=row.attempts - 1)
            return Ended(row, NotificationSuppressed(**event_fields(unmade), reason="opted_out"))
        if row.attempts > self._policy.attempts_max:  # no attempt has failed, but each of them ended with its worker
            return Ended(row, NotificationFailed(**event_fields(row), reason="attempts_exhausted"))
        return None

    async def attempt(self, row: Notification, check: Callable[[], None]) -> Ended:
        began = tracing.now()
        try:
            await self._send(row, check)
        except SendFailed as failure:
            _record_span(row, began, failure.reason)
            return self._after(row, failure)
        _record_span(row, began, None)
        return Ended(row, NotificationSent(**event_fields(row)))

    def after_error(self, row: Notification, error: BaseException) -> Ended:
        log.error("attempt_failed", reason=SendReason.ATTEMPT_FAILED, notification=str(row.id), exc_info=error)
        return self._after(row, SendFailed(SendReason.ATTEMPT_FAILED, described(error)))

    async def settle(self, ended: Sequence[Ended]) -> int:
        return await settle_in_parts(ended, self._write, self._give_up)

    async def _send(self, notification: Notification, check: Callable[[], None]) -> None:
        message, sender = self._message(notification), self.sender
        if sender is None:
            raise SendFailed(SendReason.INTERRUPTED, "the channel no longer has an address")
        try:
            check()
            await sender.send(message)
        except SendFailed:
            raise
        except ClaimOver as error:
            raise SendFailed(SendReason.INTERRUPTED, "the worker was stopped before it sent the message") from error
        except Exception as error:
            log.exception("attempt_failed", reason=SendReason.ATTEMPT_FAILED, notification=str(notification.id))
            raise SendFailed(SendReason.ATTEMPT_FAILED, described(error)) from error

    def _message(self, notification: Notification) -> Message:
        if notification.data is None or notification.address is None:
            raise SendFailed(SendReason.NOTIFICATION_UNREADABLE, "the stored notification cannot be read", permanent=True)
        try:
            text = self._texts.render(notification.template, notification.channel, notification.data, notification.locale)
        except Exception as error:  # the template has changed since its data was checked
            raise SendFailed(SendReason.TEMPLATE_FAILED, described(error), permanent=True) from error
        return Message(notification.message_id, notification.address, text)

    def _after(self, notification: Notification, failure: SendFailed) -> Ended:
        error, trace_id = excerpt_of(failure), trace_id_of(notification.traceparent)
        log.warning("attempt_failed", reason=failure.reason, notification=str(notification.id), error=error, trace_id=trace_id)
        decision = after_failure(failure, notification.attempts, self._policy, self._random)
        if isinstance(decision, RetryIn):
            return Ended(notification, Retried(decision.pause, failure.reason), error)
        return Ended(notification, NotificationFailed(**event_fields(notification), reason=decision.reason), error)

    async def _write(self, ended: Sequence[Ended]) -> int:
        causes = (
            {each.row.id: cause for each in ended if (cause := parse_traceparent(each.row.traceparent))} if tracing.on() else {}
        )
        with tracing.transaction(causes):
            async with self._pool.connection() as connection, connection.transaction():
                held = await store.settle(connection, ended)
        self._count([store.OUTCOMES[type(each.outcome)] for each in held] + ["lost"] * (len(ended) - len(held)))
        return len(held)

    async def _give_up(self, ended: Ended, error: Exception) -> int:
        """Give up an outcome that cannot be written: its row is due again when its claim ends, unless it has no attempt left."""
        row = ended.row
        log.error(UNWRITABLE, reason=UNWRITABLE, notification=str(row.id), trace_id=trace_id_of(row.traceparent), exc_info=error)
        if row.attempts < self._policy.attempts_max:
            self._count(["unwritten"])
            return 0
        async with self._pool.connection() as connection:
            await store.give_up(connection, row, UNWRITABLE, described(error))
        self._count(["failed"])
        return 1

    def _count(self, outcomes: Iterable[str]) -> None:
        for outcome, number in Counter(outcomes).items():
            ATTEMPTS.labels(self.channel, outcome).inc(number)


def event_fields(notification: Notification) -> dict[str, Any]:
    """Return the fields that every event about a notification has."""
    return {
        "id": notification.id,
        "to": notification.recipient,
        "channel": notification.channel,
        "template": notification.template,
        "message_id": notification.message_id,
        "attempts": notification.attempts,
    }


def _record_span(notification: Notification, began: int, reason: str | None) -> None:
    if began:
        tracing.record(
            f"send {notification.channel}",
            continue_trace(notification.traceparent),
            began,
            parent=span_id_of(notification.traceparent),
            kind="client",
            failed=reason is not None,
            error__type=reason,
            tallyhook__notification=str(notification.id),
            tallyhook__template=notification.template,
            tallyhook__attempt=notification.attempts,
        )
