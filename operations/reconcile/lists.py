"""
Stripe's lists of objects, newest first, and single objects, through its SDK (https://docs.stripe.com/api/pagination).

If a list cannot be filtered by time, as with some simulators of Stripe, all of it is read. Some of them answer such a
filter as Stripe answers while it fails, with 500: after that the list is read with the filter once more.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
import stripe

from operations.backfill.stripe_api import PAUSES, StripeApiError, call_with_retries, client_of
from operations.errors import Reason
from schemas.foreign_json import UNREADABLE, Decoder
from schemas.stripe_snapshots import KINDS, mode_of
from streams.retry_after import parse_http_date

_PAGE: Final = 100
_RETRIES: Final = 2
_WITH_FILTER: Final = frozenset({Reason.STRIPE_REFUSES, Reason.STRIPE_FAILED})
"""The reasons for which a list that cannot be filtered by time is not returned."""
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    # The refunded amount is in the charge, not in the intent.
    "payment_intent": {"expand": ["data.latest_charge"]},
    # By default Stripe leaves canceled subscriptions out.
    "subscription": {"status": "all"},
}


class Found(NamedTuple):
    """
    One object; `body` has the bytes that Stripe returned.

    `at` is in Unix seconds by Stripe's clock: the object includes every change before it. `created` is None if the object has
    no time of creation.
    """

    kind: str
    id: str
    created: int | None
    body: bytes
    at: int
    api_version: str | None
    until: int | None = None


class _Object(msgspec.Struct, frozen=True):
    id: str
    created: int | None = None
    deleted: bool = False


class _Page(msgspec.Struct, frozen=True):
    data: list[msgspec.Raw]
    has_more: bool = False


_page: Final = Decoder(_Page)
_object: Final = Decoder(_Object)


class StripeLists:
    """A client of the API for one account; it makes at most `rate` calls per second."""

    def __init__(
        self,
        key: str,
        base: str,
        *,
        account: str | None = None,
        rate: float = 5.0,
        pauses: Sequence[float] = PAUSES,
        retries: int = _RETRIES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client_of(key, base, retries)
        self._options = {"stripe_account": account} if account else {}
        self.livemode = mode_of(key)
        self._apart = 1 / rate
        self._pauses = pauses
        self._sleep = sleep
        self._next_at = 0.0

    def pages(self, kind: str, since: datetime, until: datetime) -> Iterator[list[Found]]:
        """
        Yield the objects of a kind that were created from `since` up to `until`, page by page.

        Raises StripeApiError.
        """
        narrowed = {"created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())}}
        wanted: dict[str, Any] = {"limit": _PAGE, **_PARAMETERS.get(kind, {})}
        path = KINDS[kind].path.rstrip("/")
        narrowed, page, found = self._first(kind, path, wanted, narrowed)
        while True:
            yield [each for each in found if each.created is None or since.timestamp() <= each.created < until.timestamp()]
            if not page.has_more or not found:
                return
            page, found = self._page(kind, path, {**wanted, **narrowed, "starting_after": found[-1].id})

    def _first(
        self, kind: str, path: str, wanted: dict[str, Any], narrowed: dict[str, Any]
    ) -> tuple[dict[str, Any], _Page, list[Found]]:
        """Return the filter that the list takes, and its first page with it."""
        try:
            return narrowed, *self._page(kind, path, wanted | narrowed)
        except StripeApiError as error:
            if error.reason not in _WITH_FILTER:
                raise
            refused = error.reason is Reason.STRIPE_REFUSES
        whole = self._page(kind, path, wanted)
        if refused:
            return {}, *whole
        try:
            return narrowed, *self._page(kind, path, wanted | narrowed)
        except StripeApiError as error:
            if error.reason not in _WITH_FILTER:
                raise
            return {}, *whole

    def one(self, kind: str, object_id: str) -> Found | None:
        """Return the present object; None if there is none, or if it was deleted. Raises StripeApiError."""
        try:
            answer, at = self._ask(kind, f"{KINDS[kind].path}{quote(object_id, safe='')}", {})
        except StripeApiError as error:
            if error.reason is Reason.STRIPE_KNOWS_NONE:
                return None
            raise
        try:
            body = answer.body.encode()
            found = _object.decode(body)
        except UNREADABLE as error:
            raise _unreadable(error) from error
        return None if found.deleted else _found(kind, body, at, answer)

    def _page(self, kind: str, path: str, params: dict[str, Any]) -> tuple[_Page, list[Found]]:
        answer, at = self._ask(kind, path, params)
        try:
            page = _page.decode(answer.body)
            return page, [_found(kind, bytes(each), at, answer) for each in page.data]
        except UNREADABLE as error:
            raise _unreadable(error) from error

    def _ask(self, kind: str, path: str, params: dict[str, Any]) -> tuple[stripe.StripeResponse, int]:
        began = time.monotonic()
        self._sleep(max(0.0, self._next_at - began))
        began = time.monotonic()
        self._next_at = began + self._apart

        def call() -> stripe.StripeResponse:
            answer: stripe.StripeResponse = self._client.raw_request("get", path, **params, **self._options)
            return answer

        answer = call_with_retries(call, self._pauses, f"{kind}s")
        return answer, _moment(answer, time.monotonic() - began)


def _moment(answer: stripe.StripeResponse, elapsed: float) -> int:
    stated = parse_http_date(answer.headers.get("Date", ""))
    return math.floor((stated or datetime.now(UTC)).timestamp() - elapsed)


def _found(kind: str, body: bytes, at: int, answer: stripe.StripeResponse) -> Found:
    found = _object.decode(body)
    return Found(kind, found.id, found.created, body, at, answer.headers.get("Stripe-Version"), _moment(answer, 0.0))


def _unreadable(error: Exception) -> StripeApiError:
    return StripeApiError(Reason.STRIPE_FAILED, f"the answer of Stripe is not a list or object of this kind: {error}")
