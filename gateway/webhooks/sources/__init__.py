"""
The senders of webhooks, one file each.

A source is data: its name, the headers that are kept of a rejected delivery, and the functions that verify and translate one.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from multidict import CIMultiDictProxy

from gateway.errors import GatewayError, Reason
from gateway.webhooks.signatures import digests_of
from outbox.append import OTHER_MODE, UNHANDLED, Received
from runtime.settings import Secret
from schemas.endpoints import place_of
from schemas.foreign_json import UNREADABLE, Decoder
from schemas.providers import ModeOrAny, Provider

Headers = CIMultiDictProxy[str]
T = TypeVar("T")

WORD_MAX: Final = 255
"""Characters that a word of a provider may have at most, since it becomes a key in our tables."""


class Arrival(NamedTuple):
    """One verified delivery before it is parsed; `secret_id` is None if it did not come as a webhook."""

    id: UUID
    traceparent: str
    secret_id: str | None
    body: bytes
    headers: Headers


class Source(NamedTuple):
    """
    One sender of webhooks.

    `verify(body, headers, secrets, now)` returns the secret that matched; the request never chooses it. `now` is Unix seconds.
    `translate(arrival)` returns the event. Both raise GatewayError.
    `signed(headers)` is true if a signature is present, right or wrong, even if a proxy has damaged its header.
    `handles(type)` is true if events of the type go to a worker, unless their mode is not the wanted `mode`; others are stored.
    `gives_up` is how long the provider retries a delivery without a 2xx, by its own documents. `endpoint` is the provider's
    endpoint to which it belongs, None for the plain path.
    """

    name: str
    kept_headers: tuple[str, ...]
    verify: Callable[[bytes, Headers, Sequence[Secret], float], Secret]
    translate: Callable[[Arrival], Received]
    handles: Callable[[str], bool]
    signed: Callable[[Headers], bool]
    gives_up: timedelta | None = None
    mode: ModeOrAny = "any"
    endpoint: str | None = None

    @property
    def place(self) -> str:
        """Its name with its endpoint, such as `stripe/eu`."""
        return place_of(self.name, self.endpoint)

    def receive(self, arrival: Arrival) -> Received:
        """Translate the delivery, and mark it as ignored if its mode is not wanted. Raises GatewayError."""
        received = self.translate(arrival)
        return msgspec.structs.replace(received, ignored=OTHER_MODE) if self._is_other(received.event.livemode) else received

    def ignores(self, kind: str | None, livemode: bool | None) -> str | None:  # noqa: FBT001  # the event's own value, or None
        """The reason why such an event goes to no worker; None if it goes to one."""
        if self._is_other(livemode):
            return OTHER_MODE
        return None if self.handles(kind or "") else UNHANDLED

    def _is_other(self, livemode: bool | None) -> bool:  # noqa: FBT001  # same
        """Return True for an event of the mode that is not wanted; one that states no mode is of every mode."""
        return self.mode != "any" and livemode is not None and livemode != (self.mode == "live")


def source_of(
    provider: Provider,
    verify: Callable[[bytes, Headers, Sequence[Secret], float], Secret],
    translate: Callable[[Arrival], Received],
    *,
    handles: Callable[[str], bool] | None = None,
    mode: ModeOrAny = "any",
) -> Source:
    """The source of a provider; it `handles` the types of the provider's record, unless it is given another rule."""
    return Source(
        provider.name,
        provider.headers,
        verify,
        translate,
        handles or provider.handled_types.__contains__,
        lambda headers: states_digest(headers, provider.signature.header),
        provider.gives_up,
        mode,
    )


def only_value(headers: Headers, name: str, otherwise: Reason) -> str:
    """The header's value, empty without one. Raises GatewayError with the reason `otherwise` if it came more than once."""
    values = headers.getall(name, [])
    if len(values) > 1:
        raise GatewayError(otherwise, f"there is more than one {name}")
    return values[0] if values else ""


def parsed(decoder: Decoder[T], body: bytes, noun: str) -> T:
    """The body as a record, which is a `noun`. Raises GatewayError `body_not_utf8`, `body_not_json` or `event_malformed`."""
    check_utf8(body)
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise refusal_of(body, error, noun) from error


def check_utf8(body: bytes) -> None:
    """
    Refuse a body that is not UTF-8: a decoder skips the fields that it does not know, but the event has the whole body.

    Raises GatewayError `body_not_utf8`.
    """
    if body.isascii():  # many times faster, and true of most bodies
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise GatewayError(Reason.BODY_NOT_UTF8, "the body is not UTF-8") from error


def refusal_of(body: bytes, error: Exception, noun: str) -> GatewayError:
    """The refusal of a body in UTF-8. A typed decoder stops at its first fault, so all of the body is tried as JSON."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return GatewayError(Reason.BODY_NOT_JSON, "the body is not JSON")
    return GatewayError(Reason.EVENT_MALFORMED, f"this is not a {noun}: {error}")


def check_words(words: Mapping[str, str]) -> None:
    """Raises GatewayError `event_malformed` for an empty word, and for one so long that an index of Postgres might refuse it."""
    for name, word in words.items():
        if not 0 < len(word) <= WORD_MAX:
            raise GatewayError(Reason.EVENT_MALFORMED, f"{name} is empty or longer than {WORD_MAX} characters")


def states_digest(headers: Headers, name: str) -> bool:
    """Return True if the header holds a possible SHA-256 digest, even if it was split, joined or re-cased on its way."""
    return bool(digests_of(", ".join(headers.getall(name, []))))
