"""The rate limit of the public routes, before anything else is done for a call."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.clients import Clients
from gateway.rates import Rates
from gateway.settings import GatewaySettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LIMITED: Final = "/v1/webhooks/"  # health is asked by our own


def limit_rates(app: web.Application, settings: GatewaySettings) -> None:
    """Hold every client of the application's webhooks to the rate; where it is `off`, nothing is put in the way."""
    if settings.rate_limit_webhooks is None:
        return
    rates = Rates(settings.rate_limit_webhooks, settings.redis_url)
    clients = Clients(settings.trusted_proxies)

    @web.middleware
    async def hold(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(_LIMITED):
            client = clients.of(request)
            if not rates.spend(client):
                await rates.ask(client)
        return await handler(request)

    async def close(_: web.Application) -> None:
        await rates.close()

    app.middlewares.append(hold)
    app.on_cleanup.append(close)
