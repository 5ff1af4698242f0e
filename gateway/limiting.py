"""The rate limits of the public routes: of an address before anything else is done, of a partner once it is known to be one."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from limits import RateLimitItem

from gateway.clients import Clients
from gateway.rates import Rates
from gateway.settings import GatewaySettings
from gateway.webhooks import Admit
from outbox.received import Received

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LIMITED: Final = "/v1/webhooks/"  # health is asked by our own


def limit_rates(app: web.Application, settings: GatewaySettings) -> None:
    """Hold every address that calls the application's webhooks to the rate; where it is `off`, nothing is put in the way."""
    if settings.rate_limit_webhooks is None:
        return
    rates = _rates_of(app, settings.rate_limit_webhooks, settings)
    clients = Clients(settings.trusted_proxies)

    @web.middleware
    async def hold(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(_LIMITED):
            client = clients.of(request)
            if not rates.spend(client):
                await rates.ask(client)
        return await handler(request)

    app.middlewares.append(hold)


def limit_partners(app: web.Application, settings: GatewaySettings, admit: Admit) -> Admit:
    """`admit`, for partners that are within their rate: a lead's provider id begins with the partner."""
    if settings.rate_limit_partners is None:
        return admit
    rates = _rates_of(app, settings.rate_limit_partners, settings)

    async def hold(request: web.Request, received: Received) -> None:
        partner = "partner/" + received.provider_event_id.partition("/")[0]
        if not rates.spend(partner):
            await rates.ask(partner)
        await admit(request, received)

    return hold


def _rates_of(app: web.Application, rate: RateLimitItem, settings: GatewaySettings) -> Rates:
    """Rates that are closed with the application."""
    rates = Rates(rate, settings.redis_url)

    async def close(_: web.Application) -> None:
        await rates.close()

    app.on_cleanup.append(close)
    return rates
