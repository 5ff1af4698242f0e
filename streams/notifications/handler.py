"""Handles notification commands: each becomes a row that waits for its channel, or ends at once with an event."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, get_args

import msgspec
from psycopg import AsyncConnection

from projections import contacts
from projections.config_view import following
from projections.contacts import Contact
from runtime.database import Pool
from schemas.envelope import Event
from schemas.operations import Channel, NotificationFailed, NotificationSuppressed, SendNotification
from schemas.templates import TemplateError, check, fields_of
from schemas.text import RECIPIENT_BYTES, cut
from streams.due import wake_listener
from streams.errors import Poison
from streams.notifications import store
from streams.notifications.decisions import Fail, Policy, Queue, decide
from streams.notifications.dispatcher import Dispatcher, event_fields
from streams.notifications.senders import sender_of
from streams.notifications.settings import NotificationSettings
from streams.notifications.store import Notification
from streams.notifications.texts import Texts
from streams.records import data_of
from streams.replays import REPLAYED, after_replays
from streams.role import Role, Running

_CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)


class NotificationsHandler:
    """
    The notifications worker, as a `streams.role.Handler`; the dispatchers beside it send what it queues.

    A command from which no text can be rendered raises Poison, with its id, before anything is written.
    """

    consumer: Final = "notifications"

    def __init__(self, configured: Collection[Channel], domain: str) -> None:
        self.configured = configured
        self._domain = domain

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        commands = [(event, command_of(event)) for event in events]
        known = await contacts.find(connection, sorted({name for _, command in commands for name in names_of(command)}))
        by_name = _by_name(known)
        queued: list[Notification] = []
        refused: list[tuple[Notification, NotificationFailed | NotificationSuppressed]] = []
        for event, command in commands:
            named = _named_by(command, by_name)
            decision = decide(command, named, self.configured)
            notification = self._notification(event, command, decision.address if isinstance(decision, Queue) else None)
            notification = notification._replace(locale=next((contact.locale for contact in named if contact.locale), None))
            if isinstance(decision, Queue):
                queued.append(notification)
            else:
                kind = NotificationFailed if isinstance(decision, Fail) else NotificationSuppressed
                refused.append((notification, kind(**event_fields(notification), reason=decision.reason)))
        await store.enqueue(connection, queued)
        await store.refuse(connection, refused)

    async def restore(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        """Store the commands as suppressed: whether they were sent is no longer known."""
        await store.suppress(connection, [self._notification(event, command_of(event), None) for event in events], REPLAYED)

    def _notification(self, event: Event, command: SendNotification, address: str | None) -> Notification:
        return Notification(
            id=event.id,
            recipient=cut(command.to, RECIPIENT_BYTES),  # a provider's address of a payer may have any length
            channel=command.channel,
            template=command.template,
            data=command.data,
            address=address,
            message_id=f"<{event.id.hex}@{self._domain}>",
            attempts=0,
            traceparent=event.traceparent,
        )


def command_of(event: Event) -> SendNotification:
    """
    Return the command, with only the data that its template declares.

    Raises Poison: the reasons of `data_of`, and `template_unknown`, `template_channel_unknown`, `data_missing`, `data_invalid`.
    """
    command = data_of(event, SendNotification)
    try:
        template = check(command.template, command.channel, command.data)
    except TemplateError as error:
        raise Poison(error.reason, str(error), event.id) from error
    data = {name: value for name, value in fields_of(template, command.data).items() if value is not None}
    return msgspec.structs.replace(command, template=template.code, data=data)


def _by_name(known: Iterable[Contact]) -> dict[str, list[Contact]]:
    """Return the contacts by their user ids and by their addresses."""
    found: dict[str, list[Contact]] = defaultdict(list)
    for contact in known:
        for name in {contact.user_id, contact.email, contact.phone, contact.push} - {None}:
            found[str(name)].append(contact)
    return found


def _named_by(command: SendNotification, by_name: Mapping[str, list[Contact]]) -> list[Contact]:
    """Return the contacts that the command's `to` or its `fallback` names, by the ids of their users."""
    names = names_of(command)
    found = {contact.user_id: contact for name in names for contact in by_name.get(name, ())}
    return [found[user] for user in sorted(found) if not names.isdisjoint({user, found[user].address(command.channel)})]


def names_of(command: SendNotification) -> set[str]:
    """Return the user ids and addresses that the command names."""
    return {command.to} if command.fallback is None else {command.to, command.fallback}


@asynccontextmanager
async def _opened(settings: NotificationSettings, pool: Pool) -> AsyncIterator[Running]:
    policy = Policy(settings.notify_attempts_max, settings.notify_retry_base, settings.notify_retry_max)
    texts, seconds = Texts(), settings.notify_send_timeout.total_seconds()
    async with AsyncExitStack() as exits:
        config = await exits.enter_async_context(following(settings.database_url))
        handler = NotificationsHandler(frozenset(settings.urls), settings.notify_message_domain)

        def follow(dispatcher: Dispatcher, newest: NotificationSettings) -> None:
            """Let the channel send through its current address, or hold its messages if it has none."""
            sender = None
            if url := newest.urls.get(dispatcher.channel):
                sender = sender_of(url, seconds=seconds, threads=settings.notify_concurrency)
                exits.callback(sender.close)
            dispatcher.sender, handler.configured = sender, frozenset(newest.urls)

        dispatchers = [
            Dispatcher(
                channel,
                None,
                pool,
                texts,
                policy,
                config=config,
                limit=settings.notify_concurrency,
                lease=settings.lock_lease,
                poll=settings.notify_poll,
                hold=after_replays(handler.consumer, pool, settings.kafka),
            )
            for channel in _CHANNELS
        ]
        for dispatcher in dispatchers:
            follow(dispatcher, settings)
            settings.on_change(partial(follow, dispatcher), f"notify_{dispatcher.channel.lower()}_url")
            config.on_read(dispatcher.wake)
        listener = wake_listener(settings.database_url, store.DUE_CHANNEL, *dispatchers)
        yield Running(handler, (listener, *dispatchers), tuple(dispatcher.heartbeat for dispatcher in dispatchers))


NOTIFICATIONS: Final = Role(NotificationsHandler.consumer, _opened, NotificationSettings)
