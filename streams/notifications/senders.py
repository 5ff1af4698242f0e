"""
Hands messages to a provider that is named by an Apprise URL.

Mail is sent with aiosmtplib to the server that Apprise's URL names: Apprise always adds a Message-ID of its own, and does not
distinguish a permanent refusal from a server that is away.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.errors import MessageError
from email.headerregistry import Address
from enum import StrEnum
from typing import Final, Protocol
from urllib.parse import quote, unquote, urlsplit

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)
from apprise import Apprise, AppriseAsset, NotifyBase
from apprise.plugins.email import NotifyEmail

from runtime.endpoints import is_host, is_port
from schemas.addresses import Mailbox, mailbox_of
from streams.errors import StreamError
from streams.notifications.connections import Connections
from streams.notifications.mails import Message, mail_of

_PERMANENT: Final = range(500, 600)
_LOGIN_NEEDED: Final = frozenset({503, 530, 534, 535, 538})
"""Answers that require a login, TLS (RFC 3207, 4; RFC 4954, 6) or another command first: they are not about mail or recipient."""
_RELAY_DENIED: Final = re.compile(r"(?!5\.1\.).*(\brelay(ing)?\b|\bauthenticat)", re.IGNORECASE | re.DOTALL)
"""
Words of servers that answer 550, 553 or 554 to a recipient who is not theirs, where we have not logged in.

After 5.1.x (RFC 3463) the address is bad: Postfix says "5.1.1 ... User unknown in relay recipient table".
"""
_TOO_LARGE: Final = re.compile(r"5\.(2\.3|3\.4)\b")
"""Enhanced codes of a mail that is too large (RFC 3463), which a server may answer to MAIL already (RFC 1870)."""
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.]*://.")
_MAIL_SERVER: Final = "mailto://user:password@host:port/?from=me@host"
_MAIL: Final = frozenset({"mailto", "mailtos"})
_CUSTOM: Final = frozenset({"json", "jsons", "form", "forms"})
_FROM: Final = "no-reply@tallyhook.local"
_PLAIN: Final = re.compile(r"[A-Za-z0-9.:@+_~-]+")
"""Text that stays the same however often it is decoded, and that Apprise does not split."""
_ASSET: Final = AppriseAsset(http_redirects=False)
"""Without redirects: a POST that is redirected becomes a GET without the message, whose 200 would count as sent."""
_MARK: Final = "recipient0of0tallyhook"
_PATH: Final = ("fullpath",)


class SendReason(StrEnum):
    """The reasons why an attempt to send a notification failed."""

    ADDRESS_INVALID = "address_invalid"
    ATTEMPT_FAILED = "attempt_failed"
    INTERRUPTED = "interrupted"
    MESSAGE_REFUSED = "message_refused"
    NOTIFICATION_UNREADABLE = "notification_unreadable"
    PROVIDER_FAILED = "provider_failed"
    PROVIDER_REFUSED = "provider_refused"
    PROVIDER_SLOW = "provider_slow"
    RECIPIENT_REFUSED = "recipient_refused"
    SMTPUTF8_UNSUPPORTED = "smtputf8_unsupported"
    SMTP_LOGIN_REFUSED = "smtp_login_refused"
    SMTP_UNAVAILABLE = "smtp_unavailable"
    TEMPLATE_FAILED = "template_failed"


class SendFailed(StreamError[SendReason]):
    """An attempt failed; where `permanent`, every other one would too."""

    def __init__(self, reason: SendReason, detail: str, *, permanent: bool = False) -> None:
        super().__init__(reason, detail)
        self.permanent = permanent


class Sender(Protocol):
    async def send(self, message: Message) -> None:
        """Return when a provider has taken the message; raises SendFailed."""

    def close(self) -> None: ...


def check_url(url: str) -> str:
    """Return the URL. Raises ValueError if Apprise does not know it, or if its mail server or its sender cannot exist."""
    if not _SCHEME.match(url):
        raise ValueError(f"an address in Apprise's notation, like {_MAIL_SERVER}, is expected")
    try:
        plugin = _plugin_of(url.replace("{to}", "to").replace("{id}", "id"))
    except ValueError:  # its text may quote the URL
        raise ValueError("Apprise does not know what to do with this address") from None
    if isinstance(plugin, NotifyEmail):
        if not (is_host(_host_of(plugin)) and is_port(str(plugin.port))):
            raise ValueError(f"names no mail server: an address like {_MAIL_SERVER} is expected")
        _author_of(plugin)
    return url


def sender_of(url: str, *, seconds: float, threads: int) -> Sender:
    """Return the sender for a URL that `check_url` has accepted."""
    plugin = _plugin_of(url.replace("{to}", "to").replace("{id}", "id"))
    if isinstance(plugin, NotifyEmail):
        return MailSender(plugin, seconds)
    return ProviderSender(url, seconds, threads)


def target_of(url: str, message: Message, times: int = 1) -> str:
    """
    Return the URL with the recipient in place of `{to}`, else as Apprise's target, or as a field for a plain web hook.

    The recipient is quoted this number of `times`, since Apprise decodes some parts of its URL twice.
    """
    to, message_id = message.address, quote(message.id, safe="")
    for _ in range(times):
        to = quote(to, safe="")
    if "{to}" in url:
        return url.replace("{to}", to).replace("{id}", message_id)
    added = f":to={to}&:id={message_id}" if urlsplit(url).scheme in _CUSTOM else f"to={to}"
    return f"{url}{'&' if '?' in url else '?'}{added}"


def plugin_for(url: str, message: Message) -> NotifyBase:
    """
    Return the plugin that reaches exactly this recipient.

    Raises SendFailed `address_invalid` where Apprise would reach another recipient: it decodes, splits and trims.
    """
    address = message.address
    if _PLAIN.fullmatch(address) and address.strip("."):  # a path of dots leads elsewhere
        return _plugin_of(target_of(url, message))
    wanted = {place: text for place, text in _texts(_plugin_of(target_of(url, message._replace(address=_MARK)))) if _MARK in text}
    for times in (1, 2) if wanted and address.strip(".") else ():
        with suppress(ValueError):
            plugin = _plugin_of(target_of(url, message, times))
            if _holds(dict(_texts(plugin)), wanted, address):
                return plugin
    raise SendFailed(
        SendReason.ADDRESS_INVALID, "this recipient cannot be handed to the provider exactly as it is", permanent=True
    )


def _texts(value: object, place: tuple[object, ...] = ()) -> Iterator[tuple[tuple[object, ...], str]]:
    """Yield every text that a plugin holds, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, NotifyBase):
        yield from _texts(vars(value), place)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*place, key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _texts(item, (*place, number))


def _holds(found: Mapping[tuple[object, ...], str], wanted: Mapping[tuple[object, ...], str], address: str) -> bool:
    """Return whether the recipient is unchanged where a harmless one was; a path is quoted once, and decoded later."""
    for place, text in wanted.items():
        read = unquote if place == _PATH else str
        if read(found.get(place, "")) != read(text).replace(_MARK, address):
            return False
    return True


def recipient_of(address: str) -> Mailbox:
    """Return the mailbox of the address. Raises SendFailed `address_invalid`, permanent, for a text that is no address."""
    mailbox = mailbox_of(address)
    if mailbox is None:
        raise SendFailed(SendReason.ADDRESS_INVALID, f"this is no address of a mailbox: {address!a}", permanent=True)
    return mailbox


def _author_of(server: NotifyEmail) -> Address:
    """Return the address that mails are from. Raises ValueError, without quoting the URL, if no mail can come from it."""
    name, address = (str(part or "") for part in server.from_addr)
    local, _, host = address.rpartition("@")
    # Apprise builds it from the login and the server's host; it omits the brackets of an IP address, which are valid there.
    mailbox = mailbox_of(address) or mailbox_of(f"{local}@[{host}]")
    if mailbox is None or not mailbox.ascii:
        raise ValueError("its from= is no address of a mailbox in ASCII, like me@host")
    try:
        return Address(display_name=name, addr_spec=address)
    except (MessageError, ValueError, IndexError):
        raise ValueError("its name= has a line break or another character that a sender's name cannot have") from None


def _host_of(server: NotifyEmail) -> str:
    return str(server.smtp_host or "").removeprefix("[").removesuffix("]")


class MailSender:
    """Mail over SMTP, one mail after the other over a connection."""

    def __init__(self, server: NotifyEmail, seconds: float) -> None:
        self._from = _author_of(server)
        self._address = self._from.addr_spec
        self._connections = Connections(_smtp_of(server, self._address, seconds), seconds)

    async def send(self, message: Message) -> None:
        to = recipient_of(message.address)
        mail = mail_of(message, self._from, to)
        try:
            await self._connections.send(mail, self._address, to.address)
        except SMTPNotSupported as error:
            if to.ascii:
                raise SendFailed(SendReason.SMTP_UNAVAILABLE, str(error)) from error
            # RFC 6531, 3.2: such an address must not be written in any other way.
            raise SendFailed(SendReason.SMTPUTF8_UNSUPPORTED, str(error), permanent=True) from error
        except SMTPRecipientRefused as error:
            needs_login = _RELAY_DENIED.match(error.message.replace(error.recipient, ""))
            raise _refused(SendReason.SMTP_LOGIN_REFUSED if needs_login else SendReason.RECIPIENT_REFUSED, error) from error
        except SMTPSenderRefused as error:
            of_mail = error.code not in _PERMANENT or _TOO_LARGE.match(error.message)
            raise _refused(SendReason.MESSAGE_REFUSED if of_mail else SendReason.SMTP_LOGIN_REFUSED, error) from error
        except SMTPAuthenticationError as error:
            raise _refused(SendReason.SMTP_LOGIN_REFUSED, error) from error
        except SMTPResponseException as error:
            raise _refused(SendReason.MESSAGE_REFUSED, error) from error
        except (SMTPException, OSError) as error:
            raise SendFailed(SendReason.SMTP_UNAVAILABLE, f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        self._connections.close()


def _refused(reason: SendReason, error: SMTPResponseException) -> SendFailed:
    """Return the failure for the server's answer; a fault of our configuration is never permanent, since it can be corrected."""
    reason = SendReason.SMTP_LOGIN_REFUSED if error.code in _LOGIN_NEEDED else reason
    return SendFailed(reason, str(error), permanent=error.code in _PERMANENT and reason != SendReason.SMTP_LOGIN_REFUSED)


class ProviderSender:
    """Any provider that Apprise can send to. Apprise blocks, so it runs in its own threads, and returns only yes or no."""

    def __init__(self, url: str, seconds: float, threads: int) -> None:
        self._url = url
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="apprise")

    async def send(self, message: Message) -> None:
        loop = asyncio.get_running_loop()
        try:
            taken = await asyncio.wait_for(loop.run_in_executor(self._threads, self._notify, message), self._seconds)
        except TimeoutError as error:
            raise SendFailed(SendReason.PROVIDER_SLOW, f"no answer within {self._seconds} s") from error
        except SendFailed:
            raise
        except Exception as error:  # any error of a plugin is this attempt's failure
            raise SendFailed(SendReason.PROVIDER_FAILED, f"{type(error).__name__}: {error}") from error
        if not taken:
            raise SendFailed(SendReason.PROVIDER_REFUSED, "the provider is away or refuses; Apprise does not report which")

    def _notify(self, message: Message) -> bool:
        plugin = plugin_for(self._url, message)
        return bool(plugin.notify(body=message.text.body, title=message.text.subject))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _plugin_of(url: str) -> NotifyBase:
    parts = urlsplit(url)
    if parts.scheme not in _MAIL:
        plugin = Apprise.instantiate(url, asset=_ASSET)
        if not isinstance(plugin, NotifyBase):
            raise ValueError("Apprise does not know what to do with this address")  # pydantic takes a ValueError
        return plugin
    if "@" not in parts.netloc and "from=" not in parts.query:
        url += f"{'&' if parts.query else '?'}from={_FROM}"  # else Apprise would send as root of this machine
    try:
        # By name: Apprise loads all of its plugins, 9 MiB, to find the one for mail.
        return NotifyEmail(**NotifyEmail.parse_url(url))  # type: ignore[no-untyped-call]  # Apprise has no types for it
    except TypeError as error:  # the plugin found nothing in the URL, or refuses what it found
        raise ValueError("Apprise does not know what to do with this address") from error


def _smtp_of(server: NotifyEmail, sender: str, seconds: float) -> Callable[[], SMTP]:
    """Return a function that makes a client of the mail server that Apprise's URL names."""
    secure = str(server.secure_mode)

    def make() -> SMTP:
        return SMTP(
            hostname=_host_of(server),
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            use_tls=secure == "ssl",
            start_tls=secure == "starttls",
            validate_certs=server.verify_certificate,
            local_hostname=sender.rpartition("@")[2],
            timeout=seconds,
        )

    return make
