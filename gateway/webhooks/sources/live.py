"""The sources that this gateway has secrets for."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from psycopg import AsyncConnection

from gateway.errors import GatewayError, Reason
from gateway.settings import GatewaySettings
from gateway.webhooks.leads import claim_key
from gateway.webhooks.sources import Arrival, Headers, Source
from gateway.webhooks.sources.partner import NAME as PARTNER
from gateway.webhooks.sources.partner import partner_source
from outbox.append import Received
from projections.endpoints import Endpoint, Endpoints
from projections.senders import Senders
from runtime.settings import Secret
from schemas.endpoints import place_of
from schemas.providers import Provider, providers


class LiveSource(NamedTuple):
    """
    A source with its live secrets, newest first; the source of partners has none here, since each partner has its own.

    `claim` may refuse a parsed delivery in the transaction that records it.
    """

    source: Source
    secrets: Sequence[Secret]
    claim: Callable[[AsyncConnection, Headers, Received], Awaitable[None]] | None = None


class LiveSources(Mapping[str, LiveSource]):
    """
    The sources by their places: `partner`, the plain paths such as `stripe`, and the endpoints such as `stripe/eu`.

    They follow the settings and the endpoints. `partner` is always among them: a lead of an unknown partner is refused like one
    with a wrong signature.
    """

    def __init__(self, settings: GatewaySettings, senders: Senders) -> None:
        self._settings = settings
        self._senders = senders
        self._read()

    def __getitem__(self, place: str) -> LiveSource:
        return self.current[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.current)

    def __len__(self) -> int:
        return len(self.current)

    @property
    def current(self) -> Mapping[str, LiveSource]:
        """The current sources; the same object until something changes."""
        if self._seen != (self._settings.newest, self._senders.endpoints.version):
            self._read()
        return self._all

    def _read(self) -> None:
        endpoints = self._senders.endpoints
        self._seen = newest, _ = self._settings.newest, endpoints.version
        found = {PARTNER: LiveSource(partner_source(self._senders.partners), (), claim_key)}
        for provider in providers():
            plain = plain_source(provider, newest)
            if secrets := newest.webhook_secrets(provider):
                found[provider.name] = LiveSource(plain, secrets)
            for place, endpoint in endpoints.items():
                if endpoint.provider == provider.name:
                    found[place] = LiveSource(_endpoint_source(plain, endpoint, endpoints), endpoint.secrets)
        self._all = found


def plain_source(provider: Provider, settings: GatewaySettings) -> Source:
    """The source of a provider's plain path."""
    found: Source = provider.part("gateway.webhooks.sources", "source")(settings)
    return found


def unknown_source(plain: Source, endpoints: Endpoints) -> Source:
    """The source for a path that names no endpoint of the provider; it refuses every delivery."""

    def verify(*_: object) -> Secret:
        if not endpoints.read.is_set():
            raise GatewayError(Reason.POSTGRES_UNAVAILABLE, "the endpoints have not been read yet")
        raise GatewayError(Reason.ENDPOINT_UNKNOWN, "the provider has no endpoint of this name")

    return plain._replace(verify=verify)


def _endpoint_source(plain: Source, endpoint: Endpoint, endpoints: Endpoints) -> Source:
    """The source of an endpoint: the provider's own, for the mode of the endpoint if it has one."""
    mode = endpoint.terms.mode
    livemode = None if mode in {None, "any"} else mode == "live"
    place = place_of(endpoint.provider, endpoint.id)

    def verify(body: bytes, headers: Headers, secrets: Sequence[Secret], now: float) -> Secret:
        try:
            return plain.verify(body, headers, secrets, now)
        except GatewayError as error:
            if error.reason is Reason.SIGNATURE_WRONG and endpoints.is_uncertain(place):
                raise GatewayError(Reason.POSTGRES_UNAVAILABLE, "the secrets of this endpoint cannot be read now") from error
            raise

    def translate(arrival: Arrival) -> Received:
        received = plain.translate(arrival)
        event = received.event
        if event.livemode is None and livemode is not None:
            event = msgspec.structs.replace(event, livemode=livemode)
        return msgspec.structs.replace(received, event=event, endpoint=endpoint.id)

    return plain._replace(verify=verify, translate=translate, mode=mode or plain.mode, endpoint=endpoint.id)
