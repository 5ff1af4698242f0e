"""The receptions of providers' endpoints, which are added and removed while the gateway runs."""

from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from gateway.keys import ENDPOINT
from gateway.route import ROUTES
from gateway.webhooks.reception import Reception, named_endpoint
from gateway.webhooks.sources.live import LiveSource, LiveSources
from schemas.endpoints import place_of

Make = Callable[[LiveSource], Reception]


class EndpointReceptions:
    """The receptions of endpoints by their places, updated at each call; those in `unknown`, one a provider, refuse."""

    def __init__(self, sources: LiveSources, make: Make, unknown: Mapping[str, Reception]) -> None:
        self._sources = sources
        self._make = make
        self._unknown = unknown
        self._known: dict[str, Reception] = {}
        self._read()

    def of(self, provider: str, name: str | None) -> tuple[Reception, str | None]:
        """The reception for a path, and the id of its endpoint, which is None if there is no such endpoint."""
        if self._seen is not self._sources.current:
            self._read()
        known = self._known.get(place_of(provider, name)) if name else None
        return (known, name) if known else (self._unknown[provider], None)

    def _read(self) -> None:
        self._seen = self._sources.current
        live = {place: each for place, each in self._seen.items() if each.source.endpoint}
        for place in self._known.keys() - live.keys():
            self._known.pop(place).forget()
        for place, each in live.items():
            if place in self._known:
                self._known[place].renew(each.source, each.secrets)
            else:
                self._known[place] = self._make(each)


ENDPOINT_RECEPTIONS: Final = web.AppKey("endpoint_receptions", EndpointReceptions)


async def receive(request: web.Request) -> web.Response:
    """Receive a webhook at an endpoint of a provider."""
    source = request.app[ROUTES][request.match_info.route.name or ""].source
    reception, known = request.app[ENDPOINT_RECEPTIONS].of(source, named_endpoint(request))
    if known:
        request[ENDPOINT] = known
    return await reception.receive(request)
