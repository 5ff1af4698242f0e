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
from runtime.heartbeat import Heartbeat, now
from runtime.tracing import continue_trace, parse_traceparent
from schemas.operations import Channel, NotificationFailed, NotificationSent, NotificationSuppressed
from streams.claims import ClaimOver, Claims
from streams.notifications import store
from streams.notifications.decisions import Policy, RetryIn, after_failure
from streams.notifications.senders import Message, Sender, SendFailed
from streams.notifications.store import Notification
from streams.notifications.texts import Texts
from streams.processor import passing_reason

log = structlog.get_logger()

ATTEMPTS: Final = Metric(
    "tallyhook_notification_attempts_total",
    "Attempts to hand a message to a provider, by how they ended.",
    ["channel", "outcome"],
)
_ERROR_MAX: Final = 500
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
            except Exception as error:
                if (reason := passing_reason(error)) is None:
                    raise
                # What was sent and could not be written down is sent again when its claim ends, under the same message id.
                log.warning("waiting", reason=reason, channel=self._channel, error=str(error).strip())
                done = Counter()
            if done.total() < self._limit:
                await asyncio.sleep(self._poll)

    async def run_once(self) -> Counter[str]:
        """
        Make an attempt at everything that is due, up to the limit; returns how many ended how.

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
        if failures := [outcome for outcome in outcomes if isinstance(outcome, BaseException)]:
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

    async def _send(self, notification: Notification) -> None:
        assert notification.address is not None, "a CHECK holds it"  # noqa: S101  # narrows the type
        try:
            text = self._texts.render(notification.template, notification.channel, notification.data, notification.locale)
        except Exception as error:  # the template has changed since its data was checked
            raise SendFailed("template_failed", f"{type(error).__name__}: {error}", permanent=True) from error
        message = Message(notification.message_id, notification.address, text)
        try:
            self._claims.check(notification.id)
            await asyncio.wait_for(self._sender.send(message), self._timeout)
        except ClaimOver as error:
            raise SendFailed("interrupted", "the worker was stopped before it sent the message") from error
        except TimeoutError as error:
            raise SendFailed("provider_slow", "the attempt took too long") from error

    async def _after(self, notification: Notification, failure: SendFailed) -> str:
        error = str(failure).replace("\x00", "")[:_ERROR_MAX]
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
        spans.tell(
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
