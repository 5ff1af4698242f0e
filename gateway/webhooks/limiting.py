"""
The rate limits of the public routes: of an address before any other work, of a partner once its identity is proved.

The settings give the rates, unless the runtime configuration changes them under `rate_limit.webhooks` and `rate_limit.partners`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple

import structlog
from aiohttp import web
from limits import RateLimitItem

from gateway.clients import Clients
from gateway.settings import GatewaySettings
from gateway.webhooks.rates import Rates
from gateway.webhooks.reception import Admit
from outbox.append import Received
from projections.config_view import Config, following
from projections.roster import Roster
from runtime.rates import rate_of

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LIMITED: Final = "/v1/webhooks/"  # health checks are our own calls


class RateLimits(NamedTuple):
    """The rate of each address and of each partner."""

    addresses: Rates
    partners: Rates

    def renew_login(self, redis_url: str | None) -> None:
        for rates in self:
            rates.renew_login(redis_url)


def limit_rates(app: web.Application, settings: GatewaySettings) -> RateLimits:
    """Limit the rate of every address that calls the application's webhooks, and apply the configuration to both rates."""
    defaults = {"rate_limit.webhooks": settings.rate_limit_webhooks, "rate_limit.partners": settings.rate_limit_partners}
    share = 1 / settings.gateway_processes
    limits = RateLimits(*(Rates(rate, settings.redis_url, settings.redis_options, share=share) for rate in defaults.values()))
    settings.on_change(lambda newest: limits.renew_login(newest.redis_url))
    clients = Clients(settings.trusted_proxies)

    @web.middleware
    async def limit_address(request: web.Request, handler: Handler) -> web.StreamResponse:
        if limits.addresses.enabled and request.path.startswith(_LIMITED):
            client = clients.of(request)
            if not limits.addresses.spend(client):
                await limits.addresses.acquire(client)
        return await handler(request)

    async def follow(_: web.Application) -> AsyncIterator[None]:
        # In the background: webhooks must not wait for a database that is unavailable.
        async with following(settings.database_url, wait=False) as config:
            for rates, (key, rate) in zip(limits, defaults.items(), strict=True):
                config.on_read(_Follower(config, rates, key, rate).apply)
            yield
        for rates in limits:
            await rates.close()

    app.middlewares.append(limit_address)
    app.cleanup_ctx.append(follow)
    return limits


def limit_partners(limits: RateLimits, partners: Roster, admit: Admit) -> Admit:
    """Limit the rate of each partner before `admit`: a lead's provider id begins with the partner."""
    own = _OwnRates(limits.partners, partners)

    async def limit_partner(request: web.Request, received: Received) -> None:
        key = received.provider_event_id.partition("/")[0]
        rates, client = own.of(key), f"partner/{key}"
        if rates.enabled and not rates.spend(client):
            await rates.acquire(client)
        await admit(request, received)

    return limit_partner


class _OwnRates:
    """The rate of each partner: the one of its terms, else the usual one."""

    def __init__(self, usual: Rates, partners: Roster) -> None:
        self._usual = usual
        self._partners = partners
        self._own: dict[str, tuple[RateLimitItem | None, Rates]] = {}

    def of(self, key: str) -> Rates:
        partner = self._partners.get(key)
        if partner is None or partner.rate == "default":
            return self._usual
        known = self._own.get(key)
        if known is None or known[0] != partner.rate:
            known = self._own[key] = (partner.rate, self._usual.with_rate(partner.rate))
        return known[1]


class _Follower:
    """Applies the configuration, which has valid values only, to one rate."""

    def __init__(self, config: Config, rates: Rates, key: str, default: RateLimitItem | None) -> None:
        self._config = config
        self._rates = rates
        self._key = key
        self._default = default
        self._seen = ""

    def apply(self) -> None:
        text = self._config.get(self._key, "")
        if text != self._seen:
            self._seen = text
            self._rates.change(rate_of(text) if text else self._default)
            log.info("rate_changed", key=self._key, rate=text or "as set")
