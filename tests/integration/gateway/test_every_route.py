"""Rules for every route of the internal listener, from the table of routes: tokens, bodies, idempotency keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from ops.contracts.examples import EXAMPLES
from ops.processes.routes import INTERNAL
from runtime.ids import new_id

if TYPE_CHECKING:
    import aiohttp

    from gateway.route import Route
    from tests.gateways import Gateway, StartGateway

GUARDED: Final = [route for route in INTERNAL if route.role]
WITH_BODY: Final = [route for route in GUARDED if route.body]
WITH_KEY: Final = [route for route in GUARDED if route.takes_key]
_BODIES: Final = {type(example): msgspec.json.encode(example) for example in EXAMPLES}
_TOKENS: Final = {"service": "service", "admin": "operator"}
# Quick where a worker would have to answer, or Kafka.
_QUICK: Final = {"COMMAND_WAIT": "1ms", "MAX_BODY_BYTES": "2000"}
_ASKS_KAFKA: Final = "admin_topology"


async def call(
    gateway: Gateway, route: Route, token: str | None = None, body: bytes | None = None, **headers: str
) -> aiohttp.ClientResponse:
    """Call the route with the example of its body and ids that nothing has."""
    url = gateway.internal + re.sub(r"\{\w+\}", str(new_id()), route.path)
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        sent["X-Internal-Token"] = token
    if body is None:
        body = body_of(route)
    response = await gateway.client.request(route.method, url, data=body, headers=sent)
    await response.read()
    return response


def body_of(route: Route) -> bytes:
    """Return the example of its body; a refused body if it has no example, and None if it takes no body."""
    return _BODIES.get(route.body, b"{}") if route.body else b""


async def status_and_reason(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """Status and reason; a refusal is always a problem document that names its reason."""
    assert response.content_type == "application/problem+json"
    problem = await response.json(content_type=None)
    assert problem["status"] == response.status
    return response.status, problem["reason"]


async def test_without_a_live_token_nothing_is_reached(gateway: Gateway) -> None:
    for token, refusal in ((None, (401, "token_missing")), ("revoked", (401, "token_wrong"))):
        assert {route.name: await status_and_reason(await call(gateway, route, token)) for route in GUARDED} == dict.fromkeys(
            (route.name for route in GUARDED), refusal
        )


async def test_routes_of_operators_refuse_services(gateway: Gateway) -> None:
    names = {
        route.name: await status_and_reason(await call(gateway, route, "service")) for route in GUARDED if route.role == "admin"
    }
    assert set(names.values()) == {(403, "admin_token_needed")}
    assert len(names) > 20


async def test_while_tokens_change_both_open_every_route(start_gateway: StartGateway) -> None:
    tokens = {"INTERNAL_API_TOKEN": "newer,service", "ADMIN_API_TOKEN": "next,operator"}
    async with start_gateway(**_QUICK, **tokens) as gateway:
        for route in GUARDED:
            if route.name == _ASKS_KAFKA:
                continue
            for token in ("next", "operator", *(("newer", "service") if route.role == "service" else ())):
                answer = await call(gateway, route, token)
                assert answer.status not in (401, 403, 500), (route.name, token, await answer.text())


async def test_a_body_of_another_kind_is_refused_by_its_reason(start_gateway: StartGateway) -> None:
    async with start_gateway(**_QUICK) as gateway:
        for route in WITH_BODY:
            token = _TOKENS[route.role or ""]
            refusals = [
                await status_and_reason(await call(gateway, route, token, Content_Type="text/plain")),
                await status_and_reason(await call(gateway, route, token, b"{")),
                await status_and_reason(await call(gateway, route, token, b"[]")),
                await status_and_reason(await call(gateway, route, token, b'"' + b"x" * 2000 + b'"')),
            ]
            assert refusals == [
                (415, "content_type_not_json"),
                (400, "body_not_json"),
                (422, "field_invalid"),
                (413, "body_too_large"),
            ], route.name


async def test_a_key_is_for_one_request_of_a_route(start_gateway: StartGateway) -> None:
    kept = []
    async with start_gateway(**_QUICK) as gateway:
        for route in WITH_KEY:
            token, key = _TOKENS[route.role or ""], f"key of {route.name}"
            malformed = await call(gateway, route, token, Idempotency_Key="x" * 256)
            assert await status_and_reason(malformed) == (400, "idempotency_key_malformed"), route.name
            first = await call(gateway, _fixed(route), token, Idempotency_Key=key)
            again = await call(gateway, _fixed(route), token, Idempotency_Key=key)
            assert again.status == first.status, route.name
            if first.ok:
                assert await again.read() == await first.read(), route.name
            assert ("Idempotent-Replayed" in again.headers) == first.ok, route.name  # a refusal leaves the key free
            if first.ok:
                kept.append(route.name)
                other = await call(gateway, _fixed(route), token, body_of(route) + b" ", Idempotency_Key=key)
                reused = await status_and_reason(other)
                assert reused == (409, "idempotency_key_reused"), route.name
    assert len(kept) >= 7


def _fixed(route: Route) -> Route:
    """The route with one id in its path, so that a call can be the same again."""
    return route._replace(path=re.sub(r"\{\w+\}", "01a20e74-0deb-71bc-83dc-7d8a5b6f4f28", route.path))
