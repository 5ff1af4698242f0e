"""A message as a mail, which has the same Message-ID at every attempt."""

from email.headerregistry import Address, BaseHeader, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import localtime
from typing import Final, NamedTuple

from schemas.addresses import Mailbox
from streams.notifications.texts import Text


class Message(NamedTuple):
    """One message; `id` is the same at every attempt."""

    id: str
    address: str
    text: Text


class _Headers(HeaderRegistry):
    """
    Python's own registry, with one class for each kind of header.

    Python makes a class for every single header, 27 for a mail, and a class is a cycle that only the garbage collector frees.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[type[object], type[BaseHeader]] = {}

    def __getitem__(self, name: str) -> type[BaseHeader]:
        kind = self.registry.get(name.lower(), self.default_class)
        if kind not in self._made:
            self._made[kind] = super().__getitem__(name)
        return self._made[kind]


_HEADERS: Final = _Headers()
_ASCII: Final = SMTP.clone(header_factory=_HEADERS)
_UTF8: Final = SMTPUTF8.clone(header_factory=_HEADERS)


def mail_of(message: Message, sender: Address, to: Mailbox) -> EmailMessage:
    """Build the mail, with the message's own id."""
    mail = EmailMessage(policy=_ASCII if to.ascii else _UTF8)
    mail["From"] = sender
    mail["To"] = Address(username=to.local, domain=to.domain)
    mail["Subject"] = message.text.subject
    mail["Message-ID"] = message.id
    mail["Date"] = localtime()
    mail.set_content(message.text.body)
    if message.text.html:
        mail.add_alternative(message.text.html, subtype="html")
    return mail
