"""
Partners' leads, proved by the secret of the partner that the body names, in one of three ways.

`X-Partner-Signature: t=<unix>,v1=<hex>` signs `<t>.<body>`, `X-Partner-Signature: sha256=<hex>` the body alone (both by
HMAC-SHA256), and `Authorization: Bearer <token>` signs nothing.
"""

import hashlib
import hmac
import re
import secrets as random
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from gateway.errors import GatewayError, Reason
from gateway.webhooks.sources import Arrival, Headers, Source, check_utf8, only_value, states_digest
from outbox.append import Received
from projections.roster import Roster
from runtime.ids import time_of
from runtime.settings import Secret
from schemas.envelope import Event
from schemas.leads import RECEIVED, LeadReceived
from schemas.numbers import Decoder
from schemas.partners import Partner, key_of
from schemas.registry import EVENT_TYPES
from schemas.text import PartnerId

NAME: Final = "partner"
SIGNATURE_HEADER: Final = "X-Partner-Signature"
TOLERANCE: Final = 300  # seconds, on either side
EVENT_SOURCE: Final = "/webhooks/partner"
_TIMESTAMP_MAX: Final = 12  # digits
_BEARER: Final = "bearer "
_SIGNATURE: Final = re.compile(r"\b(?:v1|sha256)\s*=\s*[0-9a-fA-F]{64}\b")

_WRONG: Final = frozenset({Reason.SIGNATURE_WRONG, Reason.TOKEN_WRONG})

Body = TypeVar("Body")

_KIND: Final = EVENT_TYPES[RECEIVED]


class _Sender(msgspec.Struct, frozen=True, rename="camel"):
    """The part of the body that identifies the partner whose secret must have signed it."""

    partner_id: PartnerId


_sender: Final = Decoder(_Sender)
_lead: Final = Decoder(LeadReceived)


def partner_source(partners: Roster) -> Source:
    """The source of all partners: the body names the partner, and the partner's current secrets verify it."""
    signers = _Candidates(partners, lambda partner: partner.secret)
    holders = _Candidates(partners, lambda partner: partner.token)

    def verify(body: bytes, headers: Headers, _: Sequence[Secret], now: float) -> Secret:
        key = key_of(_parse(_sender, body).partner_id)
        try:
            if SIGNATURE_HEADER in headers:
                return _signer(body, only_value(headers, SIGNATURE_HEADER, Reason.SIGNATURE_MALFORMED), signers.of(key), now)
            return _holder(headers, holders.of(key))
        except GatewayError as error:
            if error.reason in _WRONG and partners.is_uncertain(key):
                raise GatewayError(Reason.POSTGRES_UNAVAILABLE, "the secrets of this partner have not been read yet") from error
            raise

    return Source(NAME, (SIGNATURE_HEADER, "Idempotency-Key"), verify, translate, _KIND.name.__eq__, signed)


def translate(arrival: Arrival) -> Received:
    """The lead in a verified body; its id is that of the delivery."""
    lead = _parse(_lead, arrival.body)
    return Received(
        event=Event(
            id=arrival.id,
            topic=_KIND.topic,
            aggregate_type=_KIND.aggregate,
            aggregate_id=str(arrival.id),
            source=EVENT_SOURCE,
            type=_KIND.name,
            dataschema=_KIND.dataschema,
            occurred_at=time_of(arrival.id),
            traceparent=arrival.traceparent,
            data=arrival.body,
        ),
        source=NAME,
        provider_event_id=f"{key_of(lead.partner_id)}/{lead.external_lead_id}",
        type=_KIND.name,
        secret_id=arrival.secret_id,
    )


def signed(headers: Headers) -> bool:
    """Return True if there is a signature or a bearer token."""
    if SIGNATURE_HEADER in headers:
        return states_digest(headers, SIGNATURE_HEADER)
    return len(headers.get("Authorization", "")) > len(_BEARER)


class _Candidates:
    """
    The secrets to try for a partner.

    Every partner has the same number of them: random decoys are added for an unknown partner, and for one with fewer live secrets
    than another. So a wrong signature takes the same time for a partner that exists and for one that does not.
    """

    def __init__(self, partners: Roster, secrets: Callable[[Partner], Sequence[Secret]]) -> None:
        self._partners = partners
        self._secrets = secrets
        self._read()

    def of(self, key: str) -> Sequence[Secret]:
        if self._version != self._partners.version:
            self._read()
        return self._live.get(key, self._decoys)

    def _read(self) -> None:
        self._version = self._partners.version
        live = {key: self._secrets(partner) for key, partner in self._partners.items()}
        number = max([1, *map(len, live.values())])
        self._decoys = tuple(Secret(random.token_hex(32)) for _ in range(number))
        self._live = {key: (*secrets, *self._decoys)[:number] for key, secrets in live.items()}


def _signer(body: bytes, header: str, candidates: Sequence[Secret], now: float) -> Secret:
    if not header.isascii():
        raise GatewayError(Reason.SIGNATURE_MALFORMED, f"{SIGNATURE_HEADER} is not ASCII")
    pairs = [(name.strip(), value.strip()) for name, _, value in (item.partition("=") for item in header.split(","))]
    timestamp = next((value for name, value in pairs if name == "t"), None)
    if timestamp is None:
        return _match([value for name, value in pairs if name == "sha256"], (body,), candidates)
    if not timestamp.isdecimal() or len(timestamp) > _TIMESTAMP_MAX:
        raise GatewayError(Reason.SIGNATURE_MALFORMED, f"{SIGNATURE_HEADER} has no timestamp t=<unix seconds>")
    secret = _match([value for name, value in pairs if name == "v1"], (timestamp.encode(), b".", body), candidates)
    if int(timestamp) < now - TOLERANCE:
        raise GatewayError(Reason.TIMESTAMP_TOO_OLD, "it was signed more than 300 s ago")
    if int(timestamp) > now + TOLERANCE:
        raise GatewayError(Reason.TIMESTAMP_IN_FUTURE, "it was signed more than 300 s in the future")
    return secret


def _match(signatures: Sequence[str], signed: Iterable[bytes], candidates: Sequence[Secret]) -> Secret:
    if not signatures:
        raise GatewayError(Reason.SIGNATURE_SCHEME_UNKNOWN, f"{SIGNATURE_HEADER} has neither t= and v1= nor sha256=")
    found: Secret | None = None
    for secret in candidates:
        mac = hmac.new(secret.value.encode(), digestmod=hashlib.sha256)
        for part in signed:
            mac.update(part)
        for signature in signatures:
            if hmac.compare_digest(mac.hexdigest(), signature.lower()):
                found = secret
    if found is None:
        raise GatewayError(Reason.SIGNATURE_WRONG, "no live secret of this partner has signed this body")
    return found


def _holder(headers: Headers, candidates: Sequence[Secret]) -> Secret:
    value = headers.get("Authorization", "")
    if value[: len(_BEARER)].lower() != _BEARER:
        raise GatewayError(Reason.SIGNATURE_MISSING, f"neither {SIGNATURE_HEADER} nor a bearer token is present")
    presented = value[len(_BEARER) :].strip().encode("utf-8", "surrogateescape")
    found: Secret | None = None
    for secret in candidates:
        if hmac.compare_digest(presented, secret.value.encode()):
            found = secret
    if found is None:
        raise GatewayError(Reason.TOKEN_WRONG, "this is not a live token of this partner")
    return found


def _parse(decoder: Decoder[Body], body: bytes) -> Body:
    check_utf8(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise GatewayError(Reason.EVENT_MALFORMED, f"this is not a lead: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError(Reason.BODY_NOT_JSON, "the body is not JSON") from error
