"""Stripe's webhooks (https://docs.stripe.com/webhooks/signature): `Stripe-Signature: t=<unix>,v1=<hex>[,v1=<hex>…]`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import msgspec
from stripe import SignatureVerificationError, WebhookSignature

from gateway.errors import GatewayError, Reason
from gateway.webhooks.sources import Arrival, Headers, Source, states_digest
from outbox.append import NewEvent
from outbox.received import UNHANDLED, Received
from runtime.settings import Secret
from schemas import stripe_thin as thin
from schemas.envelope import EARLIEST, LATEST
from schemas.numbers import Decoder
from schemas.stripe import DATASCHEMA, HANDLED_TYPES, SOURCE, THIN, TYPE_PREFIX, Aggregate, StripeEvent, account_of, aggregate_of
from schemas.stripe_thin import ThinEvent
from schemas.topics import Topic

SIGNATURE_HEADER: Final = "Stripe-Signature"
TOLERANCE: Final = 300  # seconds, on either side
EVENT_SOURCE: Final = "/webhooks/stripe"
_WORD_MAX: Final = 255  # Stripe's own bound on ids; beyond it an index of Postgres might refuse the row
_TIMESTAMP_MAX: Final = 12  # digits

_decoder: Final = Decoder(StripeEvent)
_thin_decoder: Final = Decoder(ThinEvent)


class _Kind(msgspec.Struct):
    object: str | None = None


_kind_decoder: Final = msgspec.json.Decoder(_Kind)


def verify(body: bytes, headers: Headers, secrets: Sequence[Secret], now: float) -> Secret:
    """The live secret that signed the body, at most five minutes from now."""
    header = _only_header(headers)
    timestamp = _timestamp_of(header)
    secret = _signer(body, header, secrets)
    # The SDK knows too old only, and only by its own clock: a captured delivery dated ahead would pass for ever.
    if timestamp < now - TOLERANCE:
        raise GatewayError(Reason.TIMESTAMP_TOO_OLD, "it was signed more than 300 s ago")
    if timestamp > now + TOLERANCE:
        raise GatewayError(Reason.TIMESTAMP_IN_FUTURE, "it was signed more than 300 s in the future")
    return secret


def translate(arrival: Arrival, *, asks: bool = False) -> Received:
    """The event that a verified body states; `asks` says that the API can be asked for what a thin event names."""
    event = _parse(arrival.body)
    is_thin = isinstance(event, ThinEvent)
    aggregate = thin.aggregate_of(event) if isinstance(event, ThinEvent) else aggregate_of(event)
    _check_words(event, aggregate)
    return Received(
        event=NewEvent(
            id=arrival.id,
            topic=Topic.WEBHOOKS_STRIPE,
            aggregate_type=aggregate.type,
            aggregate_id=aggregate.id,
            source=EVENT_SOURCE,
            type=TYPE_PREFIX + event.type,
            dataschema=thin.DATASCHEMA if is_thin else DATASCHEMA,
            occurred_at=_occurred_at(event),
            traceparent=arrival.traceparent,
            data=arrival.body,
            livemode=event.livemode,
            account=account_of(None if isinstance(event, ThinEvent) else event.account, event.context),
        ),
        source=SOURCE,
        provider_event_id=event.id,
        type=event.type,
        secret_id=arrival.secret_id,
        ignored=_ignored(event, asks=asks),
    )


def signed(headers: Headers) -> bool:
    """Whether a signature is there."""
    return states_digest(headers, SIGNATURE_HEADER)


def stripe_source(*, asks: bool = False) -> Source:
    """Stripe, with an API key or without: `asks` says that there is one."""
    return Source(
        SOURCE,
        (SIGNATURE_HEADER,),
        verify,
        partial(translate, asks=asks),
        lambda kind: kind in HANDLED_TYPES or (asks and thin.is_asked_for(kind)),
        signed,
        # Three days in live mode (https://docs.stripe.com/webhooks#retries); in a sandbox three tries within hours.
        gives_up=timedelta(days=3),
    )


STRIPE: Final = stripe_source()


def _ignored(event: StripeEvent | ThinEvent, *, asks: bool) -> str | None:
    """Why it goes to no worker, where it does not."""
    if isinstance(event, StripeEvent):
        return None if event.type in HANDLED_TYPES else UNHANDLED
    if not asks:
        return thin.API_KEY_MISSING
    if not thin.is_asked_for(event.type):
        return UNHANDLED
    return None if event.related_object and event.related_object.id else thin.OBJECT_UNNAMED


def _only_header(headers: Headers) -> str:
    values = headers.getall(SIGNATURE_HEADER, [])
    if not any(values):
        raise GatewayError(Reason.SIGNATURE_MISSING, f"the header {SIGNATURE_HEADER} is missing")
    if len(values) > 1:
        raise GatewayError(Reason.SIGNATURE_MALFORMED, f"there is more than one {SIGNATURE_HEADER}")
    return values[0]


def _timestamp_of(header: str) -> int:
    """When it claims to be signed; a header that the SDK would choke on ends here (it compares text, which must be ASCII)."""
    if not header.isascii():
        raise GatewayError(Reason.SIGNATURE_MALFORMED, f"{SIGNATURE_HEADER} is not ASCII")
    pairs = [item.partition("=") for item in header.split(",")]
    timestamp = next((value for name, _, value in pairs if name == "t"), "")
    if not timestamp.isdecimal() or len(timestamp) > _TIMESTAMP_MAX:
        raise GatewayError(Reason.SIGNATURE_MALFORMED, f"{SIGNATURE_HEADER} has no timestamp t=<unix seconds>")
    if not any(name == WebhookSignature.EXPECTED_SCHEME for name, _, _ in pairs):
        raise GatewayError(Reason.SIGNATURE_SCHEME_UNKNOWN, f"{SIGNATURE_HEADER} has no signature v1=<hex>")
    return int(timestamp)


def _signer(body: bytes, header: str, secrets: Sequence[Secret]) -> Secret:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise GatewayError(Reason.BODY_NOT_UTF8, "the body is not UTF-8") from error
    for secret in secrets:
        try:
            WebhookSignature.verify_header(text, header, secret.value)
        except SignatureVerificationError:
            continue
        return secret
    raise GatewayError(Reason.SIGNATURE_WRONG, "no live secret has signed this body")


def _parse(body: bytes) -> StripeEvent | ThinEvent:
    """A snapshot is what most are, so that is tried first; a thin one never passes for it, as its `created` is no number."""
    try:
        event = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not _is_thin(body):
            raise _misfit(body, error) from error
    else:
        if event.object != THIN:
            return event
    try:
        return _thin_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _misfit(body, error) from error


def _is_thin(body: bytes) -> bool:
    try:
        return _kind_decoder.decode(body).object == THIN
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _misfit(body: bytes, error: Exception) -> GatewayError:
    """The typed decoder stops at the first thing that does not fit, be the rest JSON or not: so the whole is looked at."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return GatewayError(Reason.BODY_NOT_JSON, "the body is not JSON")
    return GatewayError(Reason.EVENT_MALFORMED, f"this is no Stripe event: {error}")


def _check_words(event: StripeEvent | ThinEvent, aggregate: Aggregate) -> None:
    words = {"id": event.id, "type": event.type, "data.object.object": aggregate.type, "data.object.id": aggregate.id}
    for name, word in words.items():
        if not 0 < len(word) <= _WORD_MAX:
            raise GatewayError(Reason.EVENT_MALFORMED, f"{name} is empty or longer than {_WORD_MAX} characters")


def _occurred_at(event: StripeEvent | ThinEvent) -> datetime:
    try:
        moment = event.created.astimezone(UTC) if isinstance(event, ThinEvent) else event.occurred_at
    except (ValueError, OverflowError, OSError) as error:
        raise GatewayError(Reason.EVENT_MALFORMED, "created is not a time") from error
    if not EARLIEST <= moment <= LATEST:
        raise GatewayError(Reason.EVENT_MALFORMED, "created is out of range")
    return moment
