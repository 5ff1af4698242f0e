"""Stripe's webhooks (https://docs.stripe.com/webhooks/signature): `Stripe-Signature: t=<unix>,v1=<hex>[,v1=<hex>…]`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec
from stripe import SignatureVerificationError, WebhookSignature

from gateway.errors import GatewayError, Reason
from gateway.settings import GatewaySettings
from gateway.webhooks.sources import Arrival, Headers, Source, check_utf8, check_words, only_value, parsed, refusal_of, source_of
from outbox.append import UNHANDLED, Received
from runtime.settings import Secret
from schemas import stripe_thin as thin
from schemas.envelope import EARLIEST, LATEST, Event
from schemas.foreign_json import UNREADABLE, Decoder
from schemas.providers import ModeOrAny, account_of
from schemas.stripe import DATASCHEMA, HANDLED_TYPES, PROVIDER, SOURCE, THIN, TYPE_PREFIX, StripeEvent, aggregate_of
from schemas.stripe_thin import ThinEvent
from schemas.topics import webhooks_of

SIGNATURE_HEADER: Final = PROVIDER.signature.header
TOLERANCE: Final = 300  # seconds, on either side
EVENT_SOURCE: Final = "/webhooks/stripe"
_TOPIC: Final = webhooks_of(PROVIDER.name)
_TIMESTAMP_MAX: Final = 12  # digits

_decoder: Final = Decoder(StripeEvent)
_thin_decoder: Final = Decoder(ThinEvent)


class _Kind(msgspec.Struct):
    object: str | None = None


_kind_decoder: Final = Decoder(_Kind)


def verify(body: bytes, headers: Headers, secrets: Sequence[Secret], now: float) -> Secret:
    """The live secret that signed the body, at most five minutes from now."""
    header = only_value(headers, SIGNATURE_HEADER, Reason.SIGNATURE_MALFORMED)
    if not header:
        raise GatewayError(Reason.SIGNATURE_MISSING, f"the header {SIGNATURE_HEADER} is missing")
    timestamp = _timestamp_of(header)
    secret = _signer(body, header, secrets)
    # The SDK refuses only old times, by its own clock: a captured delivery with a future time would pass until long after it.
    if timestamp < now - TOLERANCE:
        raise GatewayError(Reason.TIMESTAMP_TOO_OLD, "it was signed more than 300 s ago")
    if timestamp > now + TOLERANCE:
        raise GatewayError(Reason.TIMESTAMP_IN_FUTURE, "it was signed more than 300 s in the future")
    return secret


def translate(arrival: Arrival, *, fetches: bool = False) -> Received:
    """The event in a verified body; `fetches` means that the object of a thin event can be fetched from the API."""
    event = _parse(arrival.body)
    is_thin = isinstance(event, ThinEvent)
    aggregate = thin.aggregate_of(event) if isinstance(event, ThinEvent) else aggregate_of(event)
    check_words({"id": event.id, "type": event.type, "data.object.object": aggregate.type, "data.object.id": aggregate.id})
    return Received(
        event=Event(
            id=arrival.id,
            topic=_TOPIC,
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
        ignored=_ignored(event, fetches=fetches),
    )


def source(settings: GatewaySettings) -> Source:
    """Stripe's source by the settings: thin events are handled if there is an API key to fetch their objects."""
    return stripe_source(fetches=bool(settings.stripe_api_key), mode=settings.stripe_mode)


def stripe_source(*, fetches: bool = False, mode: ModeOrAny = "any") -> Source:
    """The source with an API key (`fetches`) or without, for events of a mode."""

    def handles(kind: str) -> bool:
        return kind in HANDLED_TYPES or (fetches and thin.is_fetched(kind))

    return source_of(PROVIDER, verify, partial(translate, fetches=fetches), handles=handles, mode=mode)


STRIPE: Final = stripe_source()


def _ignored(event: StripeEvent | ThinEvent, *, fetches: bool) -> str | None:
    """The reason why the event goes to no worker; None if it goes to one."""
    if isinstance(event, StripeEvent):
        return None if event.type in HANDLED_TYPES else UNHANDLED
    if not fetches:
        return thin.API_KEY_MISSING
    if not thin.is_fetched(event.type):
        return UNHANDLED
    return None if event.related_object and event.related_object.id else thin.OBJECT_UNNAMED


def _timestamp_of(header: str) -> int:
    """The time of signing in the header; a header that is not ASCII is refused, since the SDK would crash on it."""
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
    """Most events are snapshots, so that form is tried first; it never accepts a thin event, whose `created` is no number."""
    check_utf8(body)
    try:
        event = _decoder.decode(body)
    except UNREADABLE as error:
        if not _is_thin(body):
            raise refusal_of(body, error, "Stripe event") from error
    else:
        if event.object != THIN:
            return event
    return parsed(_thin_decoder, body, "Stripe event")


def _is_thin(body: bytes) -> bool:
    try:
        return _kind_decoder.decode(body).object == THIN
    except UNREADABLE:
        return False


def _occurred_at(event: StripeEvent | ThinEvent) -> datetime:
    try:
        moment = event.created.astimezone(UTC) if isinstance(event, ThinEvent) else event.occurred_at
    except (ValueError, OverflowError, OSError) as error:
        raise GatewayError(Reason.EVENT_MALFORMED, "created is not a time") from error
    if not EARLIEST <= moment <= LATEST:
        raise GatewayError(Reason.EVENT_MALFORMED, "created is out of range")
    return moment
