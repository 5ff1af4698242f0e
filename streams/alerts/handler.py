"""Handles alerts: the first of its kind in a window becomes a notification, the others are counted."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from prometheus_client import Counter
from psycopg import AsyncConnection
from pydantic import AfterValidator, Field

from outbox.alerts import window_of
from outbox.append import append, event_of
from runtime.database import Pool
from runtime.ids import new_id
from runtime.outbound import OutboundSettings
from runtime.settings import Duration, HttpUrl, Secrets, Text
from runtime.tracing import continue_trace
from schemas.addresses import mailbox_of
from schemas.credentials import only
from schemas.envelope import Event
from schemas.operations import AlertRaised, Channel, SendNotification
from schemas.partners import check_signing
from schemas.text import Email, Phone, Recipient, accepts
from streams.alerts import webhook
from streams.due import wake_listener
from streams.leads.crm import opened_crm
from streams.records import data_of
from streams.role import Role, Running
from streams.settings import StreamSettings


class AlertSettings(StreamSettings, OutboundSettings):
    """A process of the alerts worker."""

    alert_to: Text | None = None
    """The recipient of alerts: a user id or a contact of the channel; unset, they are on alert.events and in the metrics only."""
    alert_channel: Channel = "EMAIL"
    """The channel of these messages: EMAIL, SMS or PUSH."""
    alert_window: Duration = timedelta(minutes=5)
    """The length of a window, in which all alerts of a kind cause one message."""
    alert_webhook_url: HttpUrl | None = Field(default=None, repr=False)
    """A web hook of your own for the same alerts, `https://…`, beside ALERT_TO: signed, and tried again for an hour."""
    alert_webhook_secret: Annotated[
        Secrets, only("a Standard Webhooks secret", "signing secret"), AfterValidator(check_signing)
    ] = ()
    """Its Standard Webhooks secrets, comma-separated, newest first: an alert carries a signature of each."""

    @classmethod
    def destinations(cls, given: Mapping[str, str]) -> Iterator[str]:
        yield from super().destinations(given)
        yield from (name for name in ("ALERT_WEBHOOK_URL",) if name in given)

    @classmethod
    def conflicts(cls, given: Mapping[str, str]) -> Iterator[str]:
        yield from super().conflicts(given)
        url, secret = "ALERT_WEBHOOK_URL", "ALERT_WEBHOOK_SECRET"
        if (url in given) != (secret in given):
            missing, there = (secret, url) if url in given else (url, secret)
            yield f"{missing}: is required, because {there} is set"
        if fault := _fault_of_recipient(given.get("ALERT_TO", ""), cls.value("ALERT_CHANNEL", given)):
            yield f"ALERT_TO: {fault}"


_NAMED: Final = re.compile(r"<[^<>]+@[^<>]+>")
"""An address with a name before it."""
_DIALLED: Final = re.compile(r"^\+[0-9 ()./-]+\Z")


def _fault_of_recipient(to: str, channel: Channel | None) -> str | None:
    """Return why no message could be sent to the text; a text that does not look like an address may be the id of a user."""
    if to and not accepts(Recipient, to):
        return "one line, the id of a user or an address, is expected"
    if channel == "EMAIL" and (accepts(Email, to) or _NAMED.search(to)) and mailbox_of(to) is None:
        return "is no address of a mailbox, and ALERT_CHANNEL is EMAIL"
    if channel == "SMS" and _DIALLED.search(to) and not accepts(Phone, to):
        return "is no telephone number like +4930123456, and ALERT_CHANNEL is SMS"
    return None


_TIMEOUT: Final = timedelta(seconds=15)
RAISED: Final = Counter(
    "tallyhook_alerts_raised_total",
    "Alerts that were raised, whether operators were notified or an earlier alert covered them.",
    ["alert"],
)

_COUNT: Final = """
insert into alert_windows as w (alert, subject, started_at, count, raised_at) values (%s, 'operators', %s, 1, now())
on conflict (alert, subject, started_at) do update set count = w.count + 1 returning count
"""


class AlertsHandler:
    """The alerts worker, as a `streams.role.Handler`."""

    consumer: Final = "alerts"

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        for event in sorted(events, key=lambda event: event.aggregate_id):  # one order of the windows' rows in all workers
            alert = data_of(event, AlertRaised)
            RAISED.labels(alert.alert).inc()
            if await self._is_first(connection, alert, event):
                if self._settings.alert_to:
                    await append(connection, [self._message(alert, event, self._settings.alert_to)])
                if self._settings.newest.alert_webhook_url:
                    await webhook.enqueue(connection, event, alert)

    async def restore(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        """Count the alerts again; their notifications have been sent."""
        for event in sorted(events, key=lambda event: event.aggregate_id):
            await self._is_first(connection, data_of(event, AlertRaised), event)

    async def _is_first(self, connection: AsyncConnection, alert: AlertRaised, event: Event) -> bool:
        started = window_of(event.occurred_at, self._settings.alert_window)
        row = await (await connection.execute(_COUNT, (alert.alert, started))).fetchone()
        return row is not None and row[0] == 1

    def _message(self, alert: AlertRaised, event: Event, to: str) -> Event:
        data = {"alert": alert.alert, "subject": alert.subject, "summary": alert.summary, "runbook": alert.runbook}
        return event_of(
            SendNotification(to=to, channel=self._settings.alert_channel, template="operator-alert", data=data),
            aggregate_id=str(new_id()),
            source="/workers/alerts",
            occurred_at=event.occurred_at,
            trace=continue_trace(event.traceparent),
            causation_id=event.id,
        )


@asynccontextmanager
async def _opened(settings: AlertSettings, pool: Pool) -> AsyncIterator[Running]:
    async with opened_crm(_TIMEOUT, settings.outbound_allow, lambda: datetime.now(UTC)) as crm:
        sender = webhook.AlertWebhook(pool, crm, lambda: settings.newest, lease=settings.lock_lease)
        listener = wake_listener(settings.database_url, webhook.DUE_CHANNEL, sender)
        yield Running(AlertsHandler(settings), (listener, sender), (sender.heartbeat,))


ALERTS: Final = Role(AlertsHandler.consumer, _opened, AlertSettings)
