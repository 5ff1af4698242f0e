"""The webhooks of Acme Pay, a provider that tests make up: `Acme-Signature: <hex>` of the raw body."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from schemas.acme import DATASCHEMA, HANDLED_TYPES, PROVIDER, TYPE_PREFIX, AcmeEvent

from gateway.errors import GatewayError, Reason
from gateway.settings import GatewaySettings
from gateway.webhooks.sources import Arrival, Headers, Source, only_value, parsed, source_of
from outbox.append import UNHANDLED, Received
from runtime.settings import Secret
from schemas.envelope import Event
from schemas.foreign_json import Decoder
from schemas.topics import webhooks_of

_decoder: Final = Decoder(AcmeEvent)


def source(_: GatewaySettings) -> Source:
    return source_of(PROVIDER, verify, translate)


def verify(body: bytes, headers: Headers, secrets: Sequence[Secret], _: float) -> Secret:
    presented = only_value(headers, PROVIDER.signature.header, Reason.SIGNATURE_MALFORMED)
    if not presented:
        raise GatewayError(Reason.SIGNATURE_MISSING, "the header Acme-Signature is missing")
    for secret in secrets:
        if hmac.compare_digest(hmac.new(secret.value.encode(), body, hashlib.sha256).hexdigest().encode(), presented.encode()):
            return secret
    raise GatewayError(Reason.SIGNATURE_WRONG, "no live secret has signed this body")


def translate(arrival: Arrival) -> Received:
    event = parsed(_decoder, arrival.body, "event of Acme Pay")
    return Received(
        event=Event(
            id=arrival.id,
            topic=webhooks_of(PROVIDER.name),
            aggregate_type="payment",
            aggregate_id=event.charge,
            source="/webhooks/acme",
            type=TYPE_PREFIX + event.kind,
            dataschema=DATASCHEMA,
            occurred_at=event.occurred_at,
            traceparent=arrival.traceparent,
            data=arrival.body,
        ),
        source=PROVIDER.name,
        provider_event_id=event.id,
        type=event.kind,
        secret_id=arrival.secret_id,
        ignored=None if event.kind in HANDLED_TYPES else UNHANDLED,
    )
