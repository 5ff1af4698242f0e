"""
Razorpay's webhooks (https://razorpay.com/docs/webhooks/validate-test): `X-Razorpay-Signature: <hex>` of the raw body.

Neither a time nor the event's id is signed. So a copy is recognised by its body too: a captured delivery that is sent again under
another id is a duplicate. After a change of the secret, Razorpay sends older events again with the old one, for 24 hours.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gateway.errors import GatewayError, Reason
from gateway.settings import GatewaySettings
from gateway.webhooks.sources import Arrival, Headers, Source, check_words, only_value, parsed, source_of
from outbox.append import UNHANDLED, Received
from runtime.settings import Secret
from schemas.envelope import Event
from schemas.foreign_json import Decoder
from schemas.providers import account_of
from schemas.razorpay import DATASCHEMA, HANDLED_TYPES, PROVIDER, SOURCE, TYPE_PREFIX, RazorpayEvent, aggregate_of
from schemas.text import Word, accepts
from schemas.topics import webhooks_of

SIGNATURE_HEADER: Final = PROVIDER.signature.header
EVENT_ID_HEADER: Final = "X-Razorpay-Event-Id"
EVENT_SOURCE: Final = "/webhooks/razorpay"
_TOPIC: Final = webhooks_of(PROVIDER.name)
_SIGNATURE: Final = re.compile(r"[0-9a-fA-F]{64}")

_decoder: Final = Decoder(RazorpayEvent)


def verify(body: bytes, headers: Headers, secrets: Sequence[Secret], _: float) -> Secret:
    """The live secret that signed the body; the signature has no time."""
    presented = only_value(headers, SIGNATURE_HEADER, Reason.SIGNATURE_MALFORMED)
    if not presented:
        raise GatewayError(Reason.SIGNATURE_MISSING, f"the header {SIGNATURE_HEADER} is missing")
    if not _SIGNATURE.fullmatch(presented):
        raise GatewayError(Reason.SIGNATURE_MALFORMED, f"{SIGNATURE_HEADER} is not 64 hex digits")
    for secret in secrets:
        expected = hmac.new(secret.value.encode(), body, hashlib.sha256).hexdigest()
        if hmac.compare_digest(expected, presented):
            return secret
    raise GatewayError(Reason.SIGNATURE_WRONG, "no live secret has signed this body")


def translate(arrival: Arrival) -> Received:
    """The event in a verified body; without an id (test mode sends none) its digest is the id."""
    event = parsed(_decoder, arrival.body, "Razorpay event")
    digest = hashlib.sha256(arrival.body).digest()
    event_id = _event_id(arrival.headers) or digest.hex()
    aggregate = aggregate_of(event, event_id)
    check_words({"event": event.event, "the entity's name": aggregate.type, "the entity's id": aggregate.id})
    return Received(
        event=Event(
            id=arrival.id,
            topic=_TOPIC,
            aggregate_type=aggregate.type,
            aggregate_id=aggregate.id,
            source=EVENT_SOURCE,
            type=TYPE_PREFIX + event.event,
            dataschema=DATASCHEMA,
            occurred_at=_occurred_at(event),
            traceparent=arrival.traceparent,
            data=arrival.body,
            account=account_of(event.account_id, None),
        ),
        source=SOURCE,
        provider_event_id=event_id,
        type=event.event,
        secret_id=arrival.secret_id,
        ignored=None if event.event in HANDLED_TYPES else UNHANDLED,
        digest=digest,
    )


def source(_: GatewaySettings) -> Source:
    """Razorpay's source, which is the same for all settings."""
    return RAZORPAY


RAZORPAY: Final = source_of(PROVIDER, verify, translate)


def _event_id(headers: Headers) -> str | None:
    named = only_value(headers, EVENT_ID_HEADER, Reason.EVENT_MALFORMED)
    if named and not accepts(Word, named):
        raise GatewayError(Reason.EVENT_MALFORMED, f"{EVENT_ID_HEADER} must be 1-255 printable ASCII characters without spaces")
    return named or None


def _occurred_at(event: RazorpayEvent) -> datetime:
    try:
        return event.occurred_at
    except (ValueError, OverflowError, OSError) as error:
        raise GatewayError(Reason.EVENT_MALFORMED, "created_at is not a time") from error
