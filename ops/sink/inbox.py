"""The messages that have arrived, newest first."""

from collections import deque
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Final, Literal

import msgspec

KEPT: Final = 1000


class Arrived(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One message."""

    channel: Literal["EMAIL", "SMS", "PUSH", "CRM"]
    to: list[str]
    text: str
    received_at: datetime
    message_id: str | None = None
    sender: str | None = None
    subject: str | None = None
    html: str | None = None


class Hook(msgspec.Struct, frozen=True):
    """The body that Apprise posts to a plain web hook, with the fields that its URL adds."""

    message: str
    to: str
    id: str | None = None


class Inbox:
    """The newest messages; they end with the process."""

    def __init__(self) -> None:
        self._arrived: deque[Arrived] = deque(maxlen=KEPT)
        self.total = 0
        """The number of all messages so far, including those that are no longer kept."""

    def add(self, message: Arrived) -> None:
        self.total += 1
        self._arrived.appendleft(message)

    def messages(self, to: str | None = None) -> list[Arrived]:
        return [message for message in self._arrived if to is None or to in message.to]


def of_mail(content: bytes, recipients: list[str]) -> Arrived:
    mail = message_from_bytes(content, _class=EmailMessage, policy=policy.default)
    return Arrived(
        channel="EMAIL",
        to=recipients,
        text=_part(mail, "plain") or "",
        html=_part(mail, "html"),
        sender=_header(mail, "From"),
        subject=_header(mail, "Subject"),
        message_id=_header(mail, "Message-ID"),
        received_at=datetime.now(UTC),
    )


def of_hook(channel: Literal["SMS", "PUSH"], body: bytes) -> Arrived:
    """Raises msgspec.DecodeError."""
    hook = msgspec.json.decode(body, type=Hook)
    return Arrived(channel=channel, to=[hook.to], text=hook.message, message_id=hook.id, received_at=datetime.now(UTC))


def _part(mail: EmailMessage, kind: Literal["plain", "html"]) -> str | None:
    part = mail.get_body((kind,))
    return None if part is None else str(part.get_content())


def _header(mail: EmailMessage, name: str) -> str | None:
    value = mail[name]
    return None if value is None else str(value)
