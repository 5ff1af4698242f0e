"""
One request to Stripe's API over HTTP; it never raises for what the API does.

A request would use little of Stripe's SDK (one header and the names of errors), and the SDK hides the bytes of the object, which
must be kept. So only the processes that verify signatures or list objects use it.
"""

import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import aiohttp
import msgspec

from runtime.outgoing import tls_context
from runtime.settings import Secret
from schemas.foreign_json import UNREADABLE, Decoder
from schemas.providers import account_of
from schemas.stripe_snapshots import KINDS, Answer, StripeObject, mode_of
from streams.errors import FetchReason
from streams.payments.fetching.store import Wanted
from streams.retry_after import parse_http_date, parse_retry_after

_BODY_MAX: Final = 4 * 1024 * 1024
_object: Final = Decoder(StripeObject)


class Gone(NamedTuple):
    """
    The object does not exist any more, and will not come back.

    The API either states that it is deleted, or answers 404, with this `detail`: so it does too if the key is of another account.
    """

    detail: str | None = None
    reason: str = "object_gone"


class Failed(NamedTuple):
    """
    The object cannot be fetched now.

    `patience` is the pause that the API requests. If the fault `concerns_all`, the other objects need not be tried now. It uses
    up an attempt if the object is `blamed`, and all of them if it is `final`.
    """

    reason: FetchReason
    detail: str = ""
    patience: timedelta | None = None
    concerns_all: bool = False
    blamed: bool = True
    final: bool = False


class _Error(msgspec.Struct, frozen=True):
    message: str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


class StripeApi:
    """The API, with a key; `now` is this machine's clock, for an answer without a `Date`."""

    def __init__(self, session: aiohttp.ClientSession, base: str, key: Secret, now: Callable[[], datetime]) -> None:
        self._session = session
        self._base = base.rstrip("/")
        self._key = key
        self._now = now

    def renew(self, key: Secret) -> None:
        """Use this key from now on."""
        self._key = key

    async def fetch(self, claimed: Wanted) -> Answer | Gone | Failed:
        """Request the object as it is now."""
        if (other := self._of_other_mode(claimed)) is not None:
            return other
        address = f"{self._base}{KINDS[claimed.kind].path}{quote(claimed.object_id, safe='')}"
        began = time.monotonic()
        try:
            async with self._session.get(address, headers=self._headers(claimed), allow_redirects=False) as response:
                body = await _read(response)
                until = self._now_at(response)
                at = math.floor(until - (time.monotonic() - began))
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a TimeoutError is an OSError
            slow = isinstance(error, TimeoutError)
            return Failed(
                FetchReason.STRIPE_SLOW if slow else FetchReason.STRIPE_UNREACHABLE, type(error).__name__, concerns_all=True
            )
        if body is None:
            return Failed(FetchReason.ANSWER_TOO_LARGE, f"it is larger than {_BODY_MAX} bytes")
        if response.status != HTTPStatus.OK:
            return self._refusal(response, body)
        answer = _answer(claimed, body, at, response.headers.get("Stripe-Version"))
        return answer._replace(until=math.floor(until)) if isinstance(answer, Answer) else answer

    def _of_other_mode(self, claimed: Wanted) -> Failed | None:
        """Return a failure if the key is of the other mode: to the API the object would not exist."""
        live = mode_of(self._key.value)
        if live is None or claimed.livemode is None or live == claimed.livemode:
            return None
        return Failed(
            FetchReason.API_KEY_OF_OTHER_MODE, "the event is of live mode and the key is not, or the other way round", final=True
        )

    def _headers(self, claimed: Wanted) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self._key.value}", "Accept": "application/json"}
        if claimed.context:
            headers["Stripe-Context"] = claimed.context
        elif claimed.account:
            headers["Stripe-Account"] = claimed.account
        return headers

    def _now_at(self, response: aiohttp.ClientResponse) -> float:
        """Return the time by Stripe's clock at the answer; the object was read at some time during the call."""
        return (parse_http_date(response.headers.get("Date", "")) or self._now()).timestamp()

    def _refusal(self, response: aiohttp.ClientResponse, body: bytes) -> Gone | Failed:
        patience = parse_retry_after(response.headers.get("Retry-After"), self._now(), sent=response.headers.get("Date"))
        try:
            detail = f"{response.status}: {msgspec.json.decode(body, type=_Refusal).error.message}"
        except UNREADABLE:
            return Failed(
                FetchReason.STRIPE_FAILED, f"{response.status}, without an error of Stripe's", patience, concerns_all=True
            )
        if response.status == HTTPStatus.NOT_FOUND:
            return Gone(detail)
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Failed(FetchReason.STRIPE_FAILED, detail, patience)
        reason, concerns_all = _REFUSALS.get(response.status, (FetchReason.STRIPE_REFUSES, False))
        return Failed(reason, detail, patience, concerns_all=concerns_all, blamed=not concerns_all)


# By the status: the reason, and whether it concerns the key and not the object (https://docs.stripe.com/error-handling).
_REFUSALS: Final[dict[int, tuple[FetchReason, bool]]] = {
    HTTPStatus.UNAUTHORIZED: (FetchReason.STRIPE_KEY_REFUSED, True),
    HTTPStatus.FORBIDDEN: (FetchReason.STRIPE_KEY_REFUSED, False),
    HTTPStatus.TOO_MANY_REQUESTS: (FetchReason.STRIPE_CALLED_TOO_OFTEN, True),
}


def _answer(claimed: Wanted, body: bytes, at: int, version: str | None) -> Answer | Gone | Failed:
    try:
        found = _object.decode(body)
    except UNREADABLE as error:
        return Failed(FetchReason.ANSWER_MALFORMED, str(error))
    if (found.object, found.id) != (claimed.kind, claimed.object_id):
        return Failed(FetchReason.ANSWER_MISMATCHED, "the answer is another object than the requested one")
    if found.deleted:
        return Gone()
    if at <= claimed.after:
        return Failed(FetchReason.ANSWER_TOO_EARLY, "the answer may be older than the event that caused the fetch")
    return Answer(found, body, at, version, account_of(claimed.account, claimed.context))


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """Return the whole body; None if it is too large."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > _BODY_MAX:
            return None
    return bytes(body)


@asynccontextmanager
async def opened_api(base: str, key: Secret, limit: timedelta) -> AsyncIterator[StripeApi]:
    """Yield a client that connects at its first request; like the SDK it uses the proxies of the environment."""
    options: dict[str, Any] = {
        "connector": aiohttp.TCPConnector(ssl=tls_context()),
        "timeout": aiohttp.ClientTimeout(total=limit.total_seconds()),
        "cookie_jar": aiohttp.DummyCookieJar(),
        "trust_env": True,
    }
    async with aiohttp.ClientSession(**options) as session:
        yield StripeApi(session, base, key, lambda: datetime.now(UTC))
