"""
One attempt over HTTP, signed by Standard Webhooks (https://www.standardwebhooks.com); no answer of a CRM makes it raise.

No partner's address may lead into our own network (server-side request forgery). The check is made just before a
socket is connected, on the address that it is connected to: neither a name that resolves differently a moment later nor an odd
spelling of an address gets past it.
"""

import errno
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import aiohttp
import msgspec
from aiohttp import AddrInfoType
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from standardwebhooks import Webhook

from runtime.build import release
from runtime.outbound import Network, may_connect
from runtime.outgoing import tls_context
from runtime.redaction import redacted
from schemas.leads import RECEIVED
from schemas.partners import Partner
from streams.claims import ClaimOver
from streams.leads.decisions import INTERRUPTED, SUCCESSES, Answer
from streams.leads.delivery_store import Claimed
from streams.retry_after import parse_retry_after


class AddressRefused(OSError):
    """The address is not one that a partner may have."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"address refused: {address}")


def guarded_socket(allowed: Sequence[Network]) -> Callable[[AddrInfoType], socket.socket]:
    """Return a factory of a connector's sockets, which raises AddressRefused for an address that is not allowed."""

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, target = info
        host = str(target[0])
        if not may_connect(host, allowed):
            raise AddressRefused(host)
        return socket.socket(family=family, type=kind, proto=protocol)

    return make


EXCERPT_MAX: Final = 2048  # bytes, as text in UTF-8
_IDLE_MAX: Final = 1.5
"""Seconds for which an idle connection is kept. Many servers close theirs after two or five, and a lead that is sent at that
moment is an attempt for nothing."""
_READ_MAX: Final = 2 * EXCERPT_MAX  # redaction would not recognise a secret that the end of the excerpt cuts
UNSENT: Final = Answer(error=INTERRUPTED)
"""The answer of an attempt whose claim ran out before the lead was sent: the worker was suspended."""
_NOT_CONFIGURED: Final = Answer(error="crm_not_configured")
_UNREADABLE: Final = Answer(error="lead_unreadable")
_BLANK_LINES: Final = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] (?P<status>(?P<interim>1(?!01)[0-9]{2})|[0-9]{3})(?![^ \r\n])")
_check: ContextVar[Callable[[], None]] = ContextVar("check", default=lambda: None)  # of the request that this task makes
_answered: ContextVar["_Answered | None"] = ContextVar("answered", default=None)  # the connection of that request


class _Data(msgspec.Struct, frozen=True, rename="camel"):
    lead_id: str
    partner_id: str
    external_lead_id: str
    payload: msgspec.Raw


class _Message(msgspec.Struct, frozen=True):
    type: str
    timestamp: datetime
    data: _Data


class Request(NamedTuple):
    """The call that one attempt makes."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Crm:
    """Sends leads to the CRMs of partners."""

    def __init__(self, session: aiohttp.ClientSession, now: Callable[[], datetime]) -> None:
        self._session = session
        self._now = now

    async def send(self, partner: Partner | None, lead: Claimed, check: Callable[[], None] = lambda: None) -> Answer:
        """
        Make one attempt; its message id and its body are the same in every attempt at this lead.

        `check` is called once the connection is made, right before the lead is sent; it raises ClaimOver if that must not be.
        """
        if partner is None or partner.crm_url is None:
            return _NOT_CONFIGURED
        if lead.received_at is None:
            return _UNREADABLE
        request = request_of(partner, partner.crm_url, lead, body_of(lead, lead.received_at), self._now())
        return await self.post(request, partner.timeout, check)

    async def post(self, request: Request, limit: timedelta | None = None, check: Callable[[], None] = lambda: None) -> Answer:
        """Make one call, within `limit` if it is given, else within the usual one; `check` is that of `send`."""
        options: dict[str, Any] = {"allow_redirects": False}
        if limit:
            options["timeout"] = aiohttp.ClientTimeout(total=limit.total_seconds())
        _check.set(check)
        _answered.set(None)
        try:
            async with self._session.post(request.url, data=request.body, headers=request.headers, **options) as response:
                asked = _single(response.headers.getall("Retry-After", []))
                pause = parse_retry_after(asked, self._now(), sent=response.headers.get("Date"))
                return _answer_of(response.status)._replace(retry_after=pause, excerpt=await _excerpt(response))
        except ClaimOver:
            return UNSENT
        except aiohttp.ClientResponseError as error:  # the answer is malformed somewhere, but its status counts
            status = None if (answered := _answered.get()) is None else status_in(answered.beginning)
            return _answer_of(status) if status else Answer(error=reason_of(error))
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a TimeoutError is an OSError
            return Answer(error=reason_of(error))


def _answer_of(status: int) -> Answer:
    return Answer(status=status, error=None if status in SUCCESSES else f"http_{status}")


def status_in(beginning: bytes) -> int | None:
    """Return the status of the answer that begins so, after any interim ones; None if it has none that can be read."""
    for head in _BLANK_LINES.split(beginning.lstrip()):
        match = _STATUS_LINE.match(head)
        if match is None or not match["interim"]:
            return int(match["status"]) if match else None
    return None


def _single(values: Sequence[str]) -> str | None:
    """Return the one value of a header; a repeated header is ambiguous, and counts as absent."""
    return values[0] if len(values) == 1 else None


async def _excerpt(response: aiohttp.ClientResponse) -> str | None:
    """Read the beginning of the CRM's answer, as Postgres can store it; the status counts even if the rest never arrives."""
    read = b""
    try:
        while len(read) < _READ_MAX and (part := await response.content.read(_READ_MAX - len(read))):
            read += part
    except (aiohttp.ClientError, OSError):
        pass
    # A CRM may answer with the request that it received, including its address.
    text = redacted(read.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}"))
    return text.encode()[:EXCERPT_MAX].decode("utf-8", "ignore") or None


def body_of(lead: Claimed, received_at: datetime, kind: str = RECEIVED) -> bytes:
    """Return the body, which has the same bytes at every attempt."""
    data = _Data(str(lead.id), lead.partner_id, lead.external_lead_id, msgspec.Raw(lead.payload))
    return msgspec.json.encode(_Message(kind, received_at.astimezone(UTC), data))


def request_of(partner: Partner, url: str, lead: Claimed, body: bytes, now: datetime) -> Request:
    """Return the call that delivers a body for this lead: the partner's own headers, and ours, which they cannot replace."""
    signed = signed_headers(str(lead.id), body, [secret.value for secret in partner.crm_secret], now)
    return Request(url, {**partner.crm_headers, **signed}, body)


def signed_headers(message_id: str, body: bytes, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """Return our headers, with a signature for each live secret, so that the partner can change secrets at any time."""
    text = body.decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Tallyhook/{release()}",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message_id, now, text) for secret in secrets),
    }


def reason_of(error: Exception) -> str:
    """Return the reason for which there was no answer, as a stable word."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "name_unresolved"
    if isinstance(error, aiohttp.ClientSSLError):
        return "tls_failed"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "address_refused" if error.errno == errno.EACCES else "connection_refused"
    if isinstance(error, ValueError):
        return "url_invalid"
    return "connection_lost"


class _Answered(ResponseHandler):
    """
    Keeps the beginning of each answer.

    The parser drops the status together with what is malformed after it in the same packet, such as a body of a 204. The CRM has
    taken the lead by then, so another attempt would double it.
    """

    beginning = b""

    def data_received(self, data: bytes) -> None:
        if len(self.beginning) < _READ_MAX:
            self.beginning += data[:_READ_MAX]
        super().data_received(data)


class _Checked(aiohttp.TCPConnector):
    """Calls the check of a request between its connection and its first byte; hooks of aiohttp's tracing cost far more."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(_Answered, self._loop)  # type: ignore[assignment]  # aiohttp has no public place for it

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        connection = await super().connect(*args, **kwargs)
        if isinstance(connection.protocol, _Answered):
            connection.protocol.beginning = b""
            _answered.set(connection.protocol)
        try:
            _check.get()()
        except BaseException:
            connection.close()
            raise
        return connection


@asynccontextmanager
async def opened_crm(limit: timedelta, allowed: Sequence[Network], now: Callable[[], datetime]) -> AsyncIterator[Crm]:
    """Open a client whose every socket is guarded: no redirects, no cookies, no proxy, nothing unpacked."""
    options: dict[str, Any] = {
        "connector": _Checked(
            limit=0,
            keepalive_timeout=_IDLE_MAX,
            socket_factory=guarded_socket(allowed),
            ttl_dns_cache=10,
            ssl=tls_context(),
        ),
        "timeout": aiohttp.ClientTimeout(total=limit.total_seconds()),
        "cookie_jar": aiohttp.DummyCookieJar(),
        "auto_decompress": False,
        "trust_env": False,
    }
    async with aiohttp.ClientSession(**options) as session:
        yield Crm(session, now)
