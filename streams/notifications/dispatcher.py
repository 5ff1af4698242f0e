"""Sends what is due over one channel; the channels do not wait for each other."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from random import SystemRandom
from typing import Any, Final

import structlog
from prometheus_client import Counter as Metric

from projections.config_view import Config
from runtime import spans
from runtime.database import UNAVAILABLE, Pool
from runtime.excerpts import described, excerpt_of
from runtime.failures import Failures
from runtime.heartbeat import Heartbeat, now
from runtime.tracing import continue_trace, parse_traceparent
from schemas.operations import Channel, NotificationFailed, NotificationSent, NotificationSuppressed
from streams.claims import ClaimOver, Claims
from streams.notifications import store
from streams.notifications.decisions import Policy, RetryIn, after_failure
from streams.notifications.senders import Message, Sender, SendFailed, SendReason
from streams.notifications.store import Notification
from streams.notifications.texts import Texts
from streams.processor import passing_reason

log = structlog.get_logger()

ATTEMPTS: Final = Metric(
    "tallyhook_notification_attempts_total",
    "Attempts to hand a message to a provider, by outcome.",
    ["channel", "outcome"],
)
"""Our own code failed in the attempt: it says nothing about the provider."""
UNWRITABLE: Final = "outcome_unwritable"
_GRACE: Final = 5.0  # seconds


class Dispatcher:
    """One channel's loop: takes what is due, sends it, and writes down what became of it."""

    def __init__(
        self,
        channel: Channel,
        sender: Sender,
        pool: Pool,
        texts: Texts,
        policy: Policy,
        *,
        config: Config,
        limit: int,
        timeout: timedelta,
        lease: timedelta,
        poll: timedelta,
    ) -> None:
        self._channel: Channel = channel
        self._sender = sender
        self._pool = pool
        self._texts = texts
        self._policy = policy
        self._config = config
        self._limit = limit
        self._timeout = timeout.total_seconds()
        self._claims = Claims(lease)
        self._poll = poll.total_seconds()
        self._random = SystemRandom()
        self.heartbeat = Heartbeat(f"sending of {channel}")
        self._failures = Failures(f"notifications {channel}")

    async def run(self) -> None:
        """Send until cancelled; what is under way then has a few seconds to end."""
        while True:
            self.heartbeat.beat()
            round_ = asyncio.ensure_future(self.run_once())
            try:
                done = await asyncio.shield(round_)
            except asyncio.CancelledError:
                await asyncio.wait({round_}, timeout=_GRACE)
                round_.cancel()
                raise
            except Exception as error:  # noqa: BLE001  # a surprise must not stop what waits for the channel
                await asyncio.sleep(self._pause_after(error))
                continue
            self._failures.passed()
            if done.total() < self._limit:
                await asyncio.sleep(self._poll)

    def _pause_after(self, error: Exception) -> float:
        if (reason := passing_reason(error)) is None:
            return self._failures.note(error)
        # What was sent and could not be written down is sent again when its claim ends, under the same message id.
        log.warning("waiting", reason=reason, channel=self._channel, error=str(error).strip())
        return self._poll

    async def run_once(self) -> Counter[str]:
        """
        Make an attempt at everything that is due, up to the limit; returns how many ended how.

        Raises only what may pass later, and not before all of them have ended.

        Nothing is attempted while the runtime configuration has `channel.<CHANNEL>.paused` true: it waits.
        """
        if self._config.get(f"channel.{self._channel}.paused", False):
            return Counter()
        async with self._pool.connection() as connection, connection.transaction():
            asked_at = now()
            due = await store.claim(connection, self._channel, self._limit, self._claims.duration)
        self._claims.take([each.id for each in due], asked_at)
        async with self._renewing(due):
            outcomes = await asyncio.gather(*(self._attempt(notification) for notification in due), return_exceptions=True)
        # A cancellation here came from within an attempt: this round's own would not have come so far. Its claim will end.
        if failures := [outcome for outcome in outcomes if isinstance(outcome, Exception)]:
            raise failures[0]
        return Counter(outcome for outcome in outcomes if isinstance(outcome, str))

    @asynccontextmanager
    async def _renewing(self, due: Sequence[Notification]) -> AsyncIterator[None]:
        """Hold the claims while the block sends."""
        done = asyncio.Event()
        renewal = asyncio.ensure_future(self._renew(due, done))
        try:
            yield
        finally:
            done.set()  # asked, not cancelled: a cancellation that meets the pool's own time-out is lost (Python 3.11)
            await asyncio.gather(renewal, return_exceptions=True)
            for each in due:
                self._claims.drop(each.id)

    async def _renew(self, due: Sequence[Notification], done: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), self._claims.every.total_seconds())
            if done.is_set():
                return
            self.heartbeat.beat()
            try:
                asked_at = now()
                async with self._pool.connection() as connection:
                    self._claims.take(await store.renew(connection, due, self._claims.duration), asked_at)
            except UNAVAILABLE as error:
                log.warning("claims_unrenewed", reason="postgres_unavailable", channel=self._channel, error=str(error).strip())

    async def _attempt(self, notification: Notification) -> str:
        try:
            return await self._make(notification)
        except Exception as error:
            if passing_reason(error) is not None:
                raise
            return await self._lose(notification, error)

    async def _make(self, notification: Notification) -> str:
        if notification.opted_out:
            unmade = notification._replace(attempts=notification.attempts - 1)
            return await self._settle(notification, NotificationSuppressed(**told(unmade), reason="opted_out"))
        if notification.attempts > self._policy.attempts_max:  # no attempt has failed, but all of them cost their worker
            return await self._settle(notification, NotificationFailed(**told(notification), reason="attempts_exhausted"))
        began = spans.now()
        try:
            await self._send(notification)
        except SendFailed as failure:
            _tell(notification, began, failure.reason)
            return await self._after(notification, failure)
        _tell(notification, began, None)
        return await self._settle(notification, NotificationSent(**told(notification)))

    async def _lose(self, notification: Notification, error: Exception) -> str:
        """Its outcome cannot be written down: it is due again when its claim ends, unless its attempts are used up."""
        trace_id = notification.traceparent[3:35]
        log.error(UNWRITABLE, reason=UNWRITABLE, notification=str(notification.id), trace_id=trace_id, exc_info=error)
        if notification.attempts < self._policy.attempts_max:
            return self._count("unwritten")
        async with self._pool.connection() as connection:
            await store.give_up(connection, notification, UNWRITABLE, described(error))
        return self._count("failed")

    async def _send(self, notification: Notification) -> None:
        message = self._message(notification)
        try:
            self._claims.check(notification.id)
            await asyncio.wait_for(self._sender.send(message), self._timeout)
        except SendFailed:
            raise
        except ClaimOver as error:
            raise SendFailed(SendReason.INTERRUPTED, "the worker was stopped before it sent the message") from error
        except TimeoutError as error:
            raise SendFailed(SendReason.PROVIDER_SLOW, "the attempt took too long") from error
        except Exception as error:
            log.exception("attempt_failed", reason=SendReason.ATTEMPT_FAILED, notification=str(notification.id))
            raise SendFailed(SendReason.ATTEMPT_FAILED, described(error)) from error

    def _message(self, notification: Notification) -> Message:
        if notification.data is None or notification.address is None:
            raise SendFailed(SendReason.NOTIFICATION_UNREADABLE, "what is stored of it cannot be read", permanent=True)
        try:
            text = self._texts.render(notification.template, notification.channel, notification.data, notification.locale)
        except Exception as error:  # the template has changed since its data was checked
            raise SendFailed(SendReason.TEMPLATE_FAILED, described(error), permanent=True) from error
        return Message(notification.message_id, notification.address, text)

    async def _after(self, notification: Notification, failure: SendFailed) -> str:
        error = excerpt_of(failure)
        decision = after_failure(failure, notification.attempts, self._policy, self._random)
        trace_id = notification.traceparent[3:35]
        log.warning("attempt_failed", reason=failure.reason, notification=str(notification.id), error=error, trace_id=trace_id)
        if not isinstance(decision, RetryIn):
            return await self._settle(notification, NotificationFailed(**told(notification), reason=decision.reason), error)
        async with self._pool.connection() as connection, connection.transaction():
            await store.postpone(connection, notification, decision.pause, failure.reason, error)
        return self._count("retried")

    async def _settle(
        self,
        notification: Notification,
        news: NotificationSent | NotificationFailed | NotificationSuppressed,
        error: str | None = None,
    ) -> str:
        cause = parse_traceparent(notification.traceparent)
        with spans.unit({notification.id: cause} if cause else {}):
            async with self._pool.connection() as connection, connection.transaction():
                held = await store.settle(connection, notification, news, error)
        return self._count(store.STATUS[type(news)] if held else "lost")

    def _count(self, outcome: str) -> str:
        ATTEMPTS.labels(self._channel, outcome).inc()
        return outcome


def told(notification: Notification) -> dict[str, Any]:
    """The fields that every event about a notification has."""
    return {
        "id": notification.id,
        "to": notification.recipient,
        "channel": notification.channel,
        "template": notification.template,
        "message_id": notification.message_id,
        "attempts": notification.attempts,
    }


def _tell(notification: Notification, began: int, reason: str | None) -> None:
    if began:
        spans.record(
            f"send {notification.channel}",
            continue_trace(notification.traceparent),
            began,
            parent=notification.traceparent[36:52],
            kind="client",
            failed=reason is not None,
            error__type=reason,
            tallyhook__notification=str(notification.id),
            tallyhook__template=notification.template,
            tallyhook__attempt=notification.attempts,
        )
