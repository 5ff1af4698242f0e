"""
Stripe's list of events (https://docs.stripe.com/api/events/list), newest first, through its SDK.

The SDK retries by itself if a connection breaks or Stripe fails. If Stripe limits the rate, this module repeats the same call.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import stripe

from operations.errors import OperationError, Reason
from runtime.outgoing import ca_bundle
from schemas.foreign_json import UNREADABLE, Decoder

LISTED_FOR: Final = timedelta(days=30)
"""Stripe lists an event for this long."""
TYPES_MAX: Final = 20
"""The maximum number of types to which one list can be narrowed."""
_PAGE: Final = 100
_RETRIES: Final = 4
_UNREACHABLE: Final = (
    "no connection to STRIPE_API_BASE: check the address, the network, and that this machine trusts its certificate; "
    "SSL_CERT_FILE and HTTPS_PROXY are used"
)
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each retry while Stripe limits the rate."""

Result = TypeVar("Result")


class StripeApiError(OperationError):
    """Stripe's API did not return what was requested; the reason is one of `stripe_…`."""


class Listed(NamedTuple):
    """One event; `body` is its text in Stripe's list, byte for byte."""

    id: str
    type: str
    created: int
    livemode: bool | None
    body: bytes


class _Event(msgspec.Struct, frozen=True):
    id: str
    type: str
    created: int
    livemode: bool | None = None


class _Page(msgspec.Struct, frozen=True):
    data: list[msgspec.Raw]


_page: Final = Decoder(_Page)
_event: Final = Decoder(_Event)


class StripeEvents:
    """A client of the list; while Stripe limits the rate, it waits for the `pauses`, one before each retry."""

    def __init__(self, key: str, base: str, *, pauses: Sequence[float] = PAUSES, retries: int = _RETRIES) -> None:
        self._client = client_of(key, base, retries)
        self._pauses = pauses

    def pages(self, since: datetime, until: datetime, types: Sequence[str] = ()) -> Iterator[list[Listed]]:
        """
        Yield the pages of events that happened from `since` up to `until`.

        Raises StripeApiError.
        """
        params: dict[str, Any] = {"limit": _PAGE, "created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())}}
        if types:
            params["types"] = list(types)
        events = self._client.v1.events
        page = call_with_retries(lambda: events.list(params), self._pauses)  # type: ignore[arg-type]  # a TypedDict in the SDK
        while True:
            yield _listed(page)
            if not page.has_more:
                return
            page = call_with_retries(page.next_page, self._pauses)


def client_of(key: str, base: str, retries: int) -> stripe.StripeClient:
    """Return a client that trusts the certificates that this machine trusts."""
    stripe.ca_bundle_path = ca_bundle() or stripe.ca_bundle_path
    return stripe.StripeClient(key, base_addresses={"api": base.rstrip("/")}, max_network_retries=retries)


def call_with_retries(call: Callable[[], Result], pauses: Sequence[float] = PAUSES, what: str = "events") -> Result:
    """
    Return the result of the call, which is repeated after pauses while Stripe limits its rate. `what` names it in errors.

    Raises StripeApiError.
    """
    for pause in (*pauses, None):
        try:
            return call()
        except stripe.RateLimitError as error:
            if pause is None:
                raise StripeApiError(Reason.STRIPE_CALLED_TOO_OFTEN, "Stripe limits the rate: try again later") from error
            time.sleep(pause)
        except stripe.StripeError as error:
            raise _error_of(error, what) from error
        except RecursionError as error:  # the SDK makes objects of the answer, by recursion
            raise StripeApiError(Reason.STRIPE_FAILED, "Stripe's answer is nested too deeply") from error
    raise AssertionError


def _listed(page: "stripe.ListObject[Any]") -> list[Listed]:
    """Cut the events out of the text of the answer: the SDK's objects turn some numbers into decimals."""
    try:
        raw = _page.decode(page.last_response.body)  # type: ignore[union-attr]  # a list always is a response
        bodies = [bytes(each) for each in raw.data]
        return [
            Listed(event.id, event.type, event.created, event.livemode, body)
            for body in bodies
            for event in [_event.decode(body)]
        ]
    except UNREADABLE as error:
        raise StripeApiError(Reason.STRIPE_FAILED, f"Stripe's answer is not a list of events: {error}") from error


def _error_of(error: stripe.StripeError, what: str) -> StripeApiError:
    if isinstance(error, stripe.AuthenticationError):
        return StripeApiError(Reason.STRIPE_KEY_REFUSED, "Stripe does not know this STRIPE_API_KEY")
    if isinstance(error, stripe.PermissionError):
        return StripeApiError(Reason.STRIPE_KEY_REFUSED, f"this STRIPE_API_KEY may not read {what}: give it that permission")
    if isinstance(error, stripe.APIConnectionError):
        return StripeApiError(Reason.STRIPE_UNREACHABLE, _UNREACHABLE)
    if isinstance(error, stripe.InvalidRequestError) and error.http_status == HTTPStatus.NOT_FOUND:
        return StripeApiError(Reason.STRIPE_KNOWS_NONE, _one_line(error))
    if isinstance(error, stripe.InvalidRequestError):
        return StripeApiError(Reason.STRIPE_REFUSES, _one_line(error))
    return StripeApiError(
        Reason.STRIPE_FAILED, f"Stripe fails with {error.http_status or 'an answer that is not JSON'}: try again later"
    )


def _one_line(error: stripe.StripeError) -> str:
    return " ".join((error.user_message or "Stripe does not accept the request").split())
