"""The settings of the gateway; each provider adds the one that holds its signing secrets."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from limits import RateLimitItem
from pydantic import BeforeValidator, Field, create_model

from gateway.roles import shared_secrets
from runtime.kafka import Cluster, File, KafkaClientSettings, Tls, unusable
from runtime.rates import rate_of
from runtime.servers import RedisTlsSettings
from runtime.sessions import DEFAULT_LEASE
from runtime.settings import (
    DatabaseUrl,
    Grace,
    Host,
    KafkaServers,
    LockLease,
    Networks,
    Port,
    RedisUrl,
    Secret,
    Secrets,
    Timeout,
    listed,
)
from schemas.credentials import KEY_OF_STRIPE, only
from schemas.partners import PartnerSettings
from schemas.providers import ModeOrAny, Provider, WebhookSecret, providers


def _rate_of(value: object) -> object:
    return rate_of(value.strip()) if isinstance(value, str) else value


def _names_of(value: object) -> object:
    return frozenset(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[frozenset[str], listed(_names_of)]
Rate = Annotated[RateLimitItem | None, BeforeValidator(_rate_of)]
TokensOrNone = Annotated[Secrets, only("a token of your own, such as one of `tallyhook secrets new`")]
Tokens = Annotated[TokensOrNone, Field(min_length=1)]


def _field_of(secret: WebhookSecret) -> tuple[Any, Any]:
    """The type and the default of the field that holds a provider's signing secrets; without any, its route is not served."""
    kinds = ("signing secret",) if secret.prefix == "whsec_" else ()
    checked = Annotated[Secrets, only(secret.expected, *kinds, one_word=False)]
    return (Annotated[checked, Field(min_length=1)], ...) if secret.required else (checked, ())


if TYPE_CHECKING:
    _ProviderSettings = PartnerSettings
else:
    _ProviderSettings = create_model(
        "_ProviderSettings",
        __base__=PartnerSettings,
        **{provider.secret_setting.lower(): _field_of(provider.secret) for provider in providers()},
    )


class GatewaySettings(_ProviderSettings, KafkaClientSettings, RedisTlsSettings):
    """One gateway process; any number of them share the database."""

    database_url: DatabaseUrl
    """The address of the database in which webhooks are recorded, `postgresql://…`."""
    lock_lease: LockLease = DEFAULT_LEASE
    """The time for which a silent process keeps its shards and claims; after it the server ends its session."""
    public_host: Host = "127.0.0.1"
    """The address at which providers reach `/v1/webhooks/*`."""
    public_port: Port = 8080
    """0 takes a free port."""
    internal_host: Host = "127.0.0.1"
    """The address at which our own services and operators reach the other routes; never open it to the world."""
    internal_port: Port = 8081
    """0 takes a free port."""
    gateway_processes: int = Field(default=1, ge=1, le=64)
    """Processes that share both ports, one for each core that the gateway may use; each has the bounds below for itself."""
    internal_tls_cert: File | None = None
    """The certificate chain of the internal listener, a PEM file; without it the listener serves plain HTTP."""
    internal_tls_key: File | None = None
    """The key of that certificate, a PEM file."""
    internal_tls_client_ca: File | None = None
    """The CA of its clients, a PEM file: a client without a certificate of it cannot connect."""
    internal_tls_allowed_subjects: Names = frozenset()
    """Names in client certificates (common or alternative), comma-separated: others are not served; empty for all of the CA."""
    stripe_mode: ModeOrAny = "any"
    """The mode of the Stripe events that go to the workers, `live`, `test` or `any`; those of the other mode are ignored."""
    stripe_api_key: Annotated[Secrets, KEY_OF_STRIPE] = ()
    """An API key. It verifies nothing: it is needed to handle thin events, and to explain a delivery that was signed with it."""
    internal_api_token: Tokens
    """Tokens of our own services, comma-separated: all live ones, newest first."""
    admin_api_token: Tokens
    """Tokens of operators, likewise; each is accepted wherever a service's token is."""
    read_api_token: TokensOrNone = ()
    """Tokens of readers, likewise: they may read everything and change nothing, and personal data is masked for them."""
    kafka_bootstrap_servers: KafkaServers | None = None
    """The addresses of Kafka, `host:port`, comma-separated: used for the topology only, never to record an event."""
    redis_url: RedisUrl | None = Field(default=None, repr=False)
    """The address of the Redis that counts calls over all gateways, `redis://…`; without it each gateway counts alone."""
    rate_limit_webhooks: Rate = rate_of("1000/second")
    """The rate at which an address may call `/v1/webhooks/*`, `200/second` or `off`; a provider calls from few addresses."""
    rate_limit_partners: Rate = rate_of("100/second")
    """The rate at which one partner may send leads, from any addresses, likewise; counted once its identity is proved."""
    trusted_proxies: Networks = ()
    """Networks of the proxies before us, comma-separated; `X-Forwarded-For` names the client only if one of them sent it."""
    max_body_bytes: int = Field(default=262_144, ge=1, le=67_108_864)
    """The largest body that is read; anything beyond is refused with 413."""
    body_timeout: Timeout = timedelta(seconds=20)
    """The time that a client may take to send its body."""
    head_timeout: Timeout = timedelta(seconds=10)
    """The time that a client may take for its TLS handshake, and for the head of a request."""
    answer_timeout: Timeout = timedelta(seconds=30)
    """The time that an answer may wait for a client that does not read."""
    idle_timeout: Timeout = timedelta(seconds=75)
    """The time that a connection is kept between two requests; longer than a proxy before us keeps it."""
    body_memory: int = Field(default=67_108_864, ge=1, le=17_179_869_184)
    """Bytes that requests under way may hold together; past it those whose body has taken longest are refused with 503."""
    public_connections_max: int | None = Field(default=None, ge=1, le=65_536)
    """Connections of the public listener at once; by default up to 4,096 of what the limit of open files leaves."""
    internal_connections_max: int | None = Field(default=None, ge=1, le=65_536)
    """Connections of the internal listener at once; by default up to 1,024, or a quarter of what that limit leaves."""
    intake_waiting_max: int = Field(default=2000, ge=1, le=1_000_000)
    """Webhooks that may wait for a commit; the next one is refused with 503 at once, so that memory and waiting stay bounded."""
    intake_waiting_bytes: int = Field(default=67_108_864, ge=1, le=1_073_741_824)
    """Bytes of webhooks that may wait for a commit; likewise."""
    intake_batch_max: int = Field(default=200, ge=1, le=1000)
    """Webhooks in one commit at most."""
    intake_commit_limit: Timeout = timedelta(seconds=5)
    """The time that a commit may take before its webhooks are refused with 503."""
    command_wait: Grace = timedelta(seconds=5)
    """The time that a command waits for its effect before it is answered with 202 and its task."""
    cache_allow_all: bool = False
    """True allows a pattern that begins with a wildcard, which can remove every key below the prefix."""
    rejected_kept_per_hour: int = Field(default=200, ge=0, le=1_000_000)
    """Rejected deliveries kept per source and hour, the worthiest, with their bodies to be verified again; others are counted."""
    shutdown_delay: Grace = timedelta(seconds=5)
    """The time for which a stopping gateway is unready and still accepts connections, before it closes its ports."""
    shutdown_grace: Grace = timedelta(seconds=10)
    """The time that a stopping gateway gives requests under way to finish."""

    def webhook_secrets(self, provider: Provider) -> tuple[Secret, ...]:
        """The signing secrets of a provider, all live ones, newest first."""
        found: tuple[Secret, ...] = getattr(self, provider.secret_setting.lower())
        return found

    @property
    def own_secrets(self) -> frozenset[Secret]:
        """The secrets of providers, services, operators and readers, which no partner may have."""
        of_providers = (secret for provider in providers() for secret in self.webhook_secrets(provider))
        tokens = (*self.internal_api_token, *self.admin_api_token, *self.read_api_token)
        return frozenset((*of_providers, *tokens, *self.stripe_api_key))

    @property
    def kafka(self) -> Cluster | None:
        """The cluster from which the topology is read."""
        return self.kafka_at(self.kafka_bootstrap_servers) if self.kafka_bootstrap_servers else None

    @classmethod
    def conflicts(cls, given: Mapping[str, str]) -> Iterator[str]:
        yield from super().conflicts(given)
        yield from _tls_faults(given)
        memory, body = cls.value("BODY_MEMORY", given), cls.value("MAX_BODY_BYTES", given)
        if memory and body and memory < body:
            yield "BODY_MEMORY: is less than MAX_BODY_BYTES, so that the largest body could not be read"
        port = cls.value("PUBLIC_PORT", given)
        if port and port == cls.value("INTERNAL_PORT", given):
            yield "INTERNAL_PORT: is PUBLIC_PORT too, so that providers would reach the internal routes"
        yield from (shared.text for shared in shared_secrets(given) if shared.gives_access)


def _tls_faults(given: Mapping[str, str]) -> Iterator[str]:
    """Return the faults of the internal listener's TLS settings, with which it would admit every client, or none."""
    cert, key, authority, subjects = (f"INTERNAL_TLS_{part}" for part in ("CERT", "KEY", "CLIENT_CA", "ALLOWED_SUBJECTS"))
    for present, needed in ((cert, key), (key, cert), (authority, cert), (subjects, authority)):
        if present in given and needed not in given:
            yield f"{needed}: is required, because {present} is set"
    if cert in given and key in given:
        yield from unusable(cert, Tls(cert=Path(given[cert]), key=Path(given[key])))
    if authority in given:
        yield from unusable(authority, Tls(ca=Path(given[authority])))
