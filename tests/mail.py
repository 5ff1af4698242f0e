"""A real SMTP server for one test, which keeps its mails and can be stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, NamedTuple

from aiosmtpd.controller import Controller

from runtime.addresses import LOOPBACK
from tests.ports import free_port

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from email.message import EmailMessage

    from aiosmtpd.smtp import SMTP, Envelope, Session


class Mail(NamedTuple):
    """One mail that was taken."""

    recipients: list[str]
    message: EmailMessage

    @property
    def id(self) -> str:
        return str(self.message["Message-ID"])

    @property
    def text(self) -> str:
        part = self.message.get_body(("plain",))
        assert part is not None
        return str(part.get_content())


class MailServer:
    """Accepts every mail; `refuse` has the reply line for each recipient that it refuses."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.connections: list[SMTP] = []
        """The connection of each mail, in the order of the mails."""
        self.answers = asyncio.Event()
        """Mails are answered while it is set."""
        self.answers.set()
        self.refuse: Callable[[str], str | None] = lambda _: None
        self.port = free_port()
        self._controller: Controller | None = None

    @property
    def url(self) -> str:
        return f"mailto://{LOOPBACK}:{self.port}/?from=shop@example.com&name=Shop"

    @property
    def ids(self) -> Counter[str]:
        """How often each message id came."""
        return Counter(mail.id for mail in self.mails)

    def to(self, address: str) -> list[Mail]:
        return [mail for mail in list(self.mails) if mail.recipients == [address]]

    def listen(self, *, utf8: bool = False, secure: str = "", context: ssl.SSLContext | None = None) -> None:
        """Listen; with `utf8` also for addresses beyond ASCII, and with this context from the start or after STARTTLS alone."""
        tls = {"ssl": {"ssl_context": context}, "starttls": {"tls_context": context, "require_starttls": True}}
        self._controller = Controller(self, hostname=LOOPBACK, port=self.port, enable_SMTPUTF8=utf8, **tls.get(secure, {}))
        self._controller.start()

    def stop(self) -> None:
        if self._controller:
            for transport in {connection.transport for connection in self.connections} - {None}:
                self._controller.loop.call_soon_threadsafe(transport.abort)
            self._controller.stop()
            self._controller = None

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name for it
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if refusal := self.refuse(address):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # same
        assert isinstance(envelope.content, bytes)
        self.connections.append(server)
        self.mails.append(Mail(envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        await self.answers.wait()
        return "250 taken"


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run a server until the end of the test, unless the test stops it."""
    server = MailServer()
    server.listen()
    try:
        yield server
    finally:
        server.stop()
