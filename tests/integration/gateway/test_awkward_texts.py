"""Awkward texts in every part of every route: the answer is a success or a refusal with a declared reason."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
import structlog
from yarl import URL

from gateway.route import COMMON_REASONS, records_of
from ops.contracts.examples import EXAMPLES
from ops.processes.routes import ADMIN as ADMIN_ROUTES
from ops.processes.routes import COMMANDS, HEALTH, INTERNAL, PROCESS, WEBHOOKS
from runtime.ids import new_id
from tests.gateways import ADMIN, SECRET
from tests.simulators import partner, razorpay, stripe
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.route import Route
    from tests.gateways import Gateway, StartGateway

# Texts as they are in a path or a query.
ENCODED: Final = (
    "%00", "a%00b", "%0A", "usd%0A", "%0D%0A", "%7F", "%1B", "%FF", "a%FFb", "%C0%80", "%ED%A0%80", "%ED%B3%BF", "%F4%90%80%80",
    "%E2%80%A8", "%EF%BB%BFa", "%F0%9F%92%A9", "%25", "%2500", "%27%22%3B--", "%5C", "%5Cu0000", "%7B%7D", "%", "%zz", "x" * 4000,
    "%D9%A1", "-1", "0", "1e308", "1e999", "nan", "inf", "9" * 400, "%20", "+", "", "0001-01-01",
    "9999-12-31T23:59:59.999999-23:59", "00000000-0000-7000-8000-000000000000", "=", "AAAA", "_" * 22, "%C2%80",
)  # fmt: skip
# Texts as they are in a header: bytes, some of which no client sends.
RAW: Final = (
    b"\xff", b"a\xff\xfeb", b"\xc0\x80", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xf0\x9f\x92\xa9", b"\x7f", b"\x1b[31m", b"", b" ",
    b"x" * 5000, b"\t", b"nan", b"-1", b"9" * 400, b"\xd9\xa1" * 12, b"%00", b"a,b;c=d", b"t=\xd9\xa1,v1=0", b"sha256=\xff",
    b'"',
)  # fmt: skip
HEADERS: Final = (
    "Idempotency-Key", "traceparent", "tracestate", "X-Internal-Token", "Accept", "Content-Type", "X-Forwarded-For", "User-Agent",
    "Authorization", "Stripe-Signature", "X-Razorpay-Signature", "X-Razorpay-Event-Id", "X-Partner-Signature", "Content-Encoding",
    "Range", "If-Match", "Cookie", "Host", "X-Trace-Id", "X-HTTP-Method-Override",
)  # fmt: skip
# Texts as they are in a body, in place of any value.
VALUES: Final = (
    r'"\u0000"', r'"a\u0000b"', r'"\\u0000"', r'"usd\n"', r'"a\n"', r'"\r\n"', r'"\ud800"', r'"\udc00\ud800"', r'"\u2028"',
    '"\\u007f"', '""', '" "', '"\x7f"', '"💩"', '"' + "x" * 3000 + '"', "1e999", "-1e999", "1e308", "-1", "0", "1.5", "9" * 30,
    "9" * 5000,
    "NaN", "Infinity", "true", "null", "[]", "{}", r'{"\u0000":"\u0000"}', "[" * 90 + "]" * 90, "[" * 3000 + "]" * 3000,
    '{"a":' * 3000 + "1" + "}" * 3000, '{"a":1,"a":2}',
)  # fmt: skip
_QUICK: Final = {
    "COMMAND_WAIT": "1ms",
    "RATE_LIMIT_WEBHOOKS": "off",
    "PARTNER_ACME_SECRET": "acme",
    "RAZORPAY_WEBHOOK_SECRET": "r",
}
_ASKS_KAFKA: Final = "admin_topology"
_BODIES: Final = {type(example): msgspec.json.decode(msgspec.json.encode(example)) for example in EXAMPLES}
ROUTES: Final = (*INTERNAL, *WEBHOOKS)
_PUBLIC: Final = {route.name for route in WEBHOOKS}


@pytest.fixture
async def quiet(start_gateway: StartGateway) -> AsyncIterator[Gateway]:
    """A gateway whose log must have no unexpected failure of a request."""
    with structlog.testing.capture_logs() as lines:
        async with start_gateway(**_QUICK) as gateway:
            yield gateway
    assert [line for line in lines if line["event"] == "request_failed"] == []


async def ask(gateway: Gateway, route: Route, path: str, body: bytes | None = None) -> tuple[int, str | None]:
    """Status and reason of a call as an operator; the path is as it goes over the wire."""
    base = gateway.public if route.name in _PUBLIC else gateway.internal
    url = URL(base + path, encoded=True)
    headers = ADMIN | (proof(route, body) | {"Content-Type": "application/json"} if body is not None else {})
    async with gateway.client.request(route.method, url, data=body, headers=headers) as answer:
        return answer.status, _reason(await answer.read())


def proof(route: Route, body: bytes) -> dict[str, str]:
    """The headers that prove the sender of a webhook, so that its body is read."""
    match route.name:
        case "stripe":
            return {"Stripe-Signature": stripe.sign(body, SECRET, time.time())}
        case "razorpay":
            return {"X-Razorpay-Signature": razorpay.sign(body, "r")}
        case "partner":
            return {"X-Partner-Signature": partner.sign(body, "acme", time.time())}
    return {}


def _reason(body: bytes) -> str | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found.get("reason") if isinstance(found, dict) and "traceId" in found else None


def wrong(route: Route, status: int, reason: str | None) -> bool:
    """Return True for an answer that the route does not declare; `not_found` is also a path that no route serves."""
    if status < 400:
        return False
    return status >= 500 or reason not in {*map(str, route.reasons), "not_found", "method_not_allowed"}


def fixed(route: Route) -> str:
    return re.sub(r"\{\w+\}", str(new_id()), route.path)


def body_of(route: Route) -> bytes | None:
    return msgspec.json.encode(_BODIES[records_of(route.body)[0]]) if route.body else None


async def test_no_text_in_a_path_or_a_query_is_an_error_of_ours(quiet: Gateway) -> None:
    answers = {}
    for route in ROUTES:
        paths = [re.sub(r"\{\w+\}", lambda _, text=text: text, route.path) for text in ENCODED if route.ids]
        names = [parameter.name for parameter in route.parameters] or ["key"]
        if route.name != _ASKS_KAFKA:
            paths += [f"{fixed(route)}?{name}={text}" for name in names for text in ENCODED]
        paths += [f"{fixed(route)}?{text}={text}" for text in ENCODED if route.query]
        for path in paths:
            answers[route.name, path] = (route, *await ask(quiet, route, path, body_of(route)))
    assert {call: answer[1:] for call, answer in answers.items() if wrong(*answer)} == {}
    assert len(answers) > 2000
    # Case 10: an invalid query is refused with its reason, and a text that can be no id is not found.
    nul = {
        answer[1:] for (_, path), answer in answers.items() if re.search(r"\?(key|source|type)=%00$", path) and answer[0].query
    }
    assert nul == {(400, "query_malformed")}
    assert {answer[1:] for (name, path), answer in answers.items() if path.endswith("payments/%00")} == {(404, "not_found")}


async def test_no_text_in_a_header_is_an_error_of_ours(quiet: Gateway) -> None:
    answers = {}
    for route in ROUTES:
        for name in _known(route):
            for value in RAW:
                answers[route.name, name, value] = (route, *await send_raw(quiet, route, {name: value}))
    for route in (WEBHOOKS[0], COMMANDS[0], ADMIN_ROUTES[0], *HEALTH):
        for name in HEADERS:
            for value in RAW:
                answers[route.name, name, value] = (route, *await send_raw(quiet, route, {name: value}))
    assert {call: answer[1:] for call, answer in answers.items() if wrong_raw(*answer)} == {}


def _known(route: Route) -> set[str]:
    """The headers that its handler, or a middleware before it, reads."""
    proofs = {proof.scheme.get("name", "Authorization") for proof in route.proofs}
    return proofs | {parameter.name for parameter in route.headers} | ({"Idempotency-Key"} if route.takes_key else set())


async def send_raw(
    gateway: Gateway, route: Route, headers: dict[str, bytes], path: bytes | None = None
) -> tuple[int, str | None]:
    """Status and reason of a call whose bytes no HTTP client would send."""
    body = body_of(route) or b""
    sent = {"Host": b"gateway", "X-Internal-Token": b"operator", "Content-Type": b"application/json", **headers}
    lines = [b"%s %s HTTP/1.1" % (route.method.encode(), path or fixed(route).encode())]
    lines += [b"%s: %s" % (name.encode(), value) for name, value in sent.items()]
    lines += [b"Content-Length: %d" % len(body), b"Connection: close", b"", body]
    url = URL(gateway.public if route.name in _PUBLIC else gateway.internal)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"\r\n".join(lines))
    async with asyncio.timeout(LIMIT):
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), _reason(rest)


def wrong_raw(route: Route, status: int, reason: str | None) -> bool:
    """Return True for a wrong answer; a request that breaks HTTP itself is refused before a route is known."""
    return wrong(route, status, reason) and not (status == 400 and reason in {None, *map(str, COMMON_REASONS)})


@pytest.mark.usefixtures("lenient_parser")
async def test_raw_bytes_in_a_path_lead_nowhere_where_they_are_let_in(quiet: Gateway) -> None:
    await assert_that_raw_bytes_lead_nowhere(quiet)


async def test_raw_bytes_in_a_path_lead_nowhere(quiet: Gateway) -> None:
    await assert_that_raw_bytes_lead_nowhere(quiet)


async def assert_that_raw_bytes_lead_nowhere(quiet: Gateway) -> None:
    awkward = [
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x92\xa9",
        b"a b",
        b"\x01",
        b"\x7f",
        b"%00",
        b"//",
        b"/../",
        b"#",
        b"?\xff=\xff",
    ]
    answers = {}
    for route in (*HEALTH, *PROCESS, *(route for route in ROUTES if route.name != _ASKS_KAFKA)):
        base = re.sub(r"\{\w+\}", "x", route.path).encode()
        for text in awkward:
            for path in (base + text, base + b"?key=" + text + b"&limit=" + text):
                answers[route.name, path] = (route, *await send_raw(quiet, route, {}, path))
    assert {call: answer[1:] for call, answer in answers.items() if wrong_raw(*answer)} == {}


async def test_no_value_in_a_body_is_an_error_of_ours(quiet: Gateway) -> None:
    answers = {}
    for route in ROUTES:
        for record in records_of(route.body):
            for place, body in bodies(_BODIES[record]):
                answers[route.name, record, place] = (route, *await ask(quiet, route, fixed(route), body.encode()))
    assert {call: answer[1:] for call, answer in answers.items() if wrong(*answer)} == {}
    assert len(answers) > 1000


def bodies(example: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The example with an awkward value in place of each value, then under an awkward name, then an awkward value alone."""
    mark = "a-mark-in-its-place"
    for place, marked in _marked(example, mark, ""):
        whole = json.dumps(marked)
        for value in VALUES:
            yield f"{place}={value[:40]}", whole.replace(f'"{mark}"', value)
    whole = json.dumps({**example, "extra": mark})
    yield from ((f"extra={value[:40]}", whole.replace(f'"{mark}"', value)) for value in VALUES)
    yield from ((f"{value[:40]}", value) for value in VALUES)
    yield from ((f"named {name}", f'{{"{name}":1,{whole[1:]}') for name in (r"\u0000", r"\ud800", r"a\n", ""))
    yield "a BOM", "\ufeff" + json.dumps(example)


def _marked(value: Any, mark: str, place: str) -> Iterator[tuple[str, Any]]:
    """The value with one part of it replaced by the mark, for each part."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield f"{place}.{name}", {**value, name: mark}
            yield from ((where, {**value, name: marked}) for where, marked in _marked(part, mark, f"{place}.{name}"))
    elif isinstance(value, list | tuple):
        for n, part in enumerate(value):
            yield f"{place}[{n}]", [*value[:n], mark, *value[n + 1 :]]
            inner = _marked(part, mark, f"{place}[{n}]")
            yield from ((where, [*value[:n], marked, *value[n + 1 :]]) for where, marked in inner)


async def test_a_newline_at_the_end_is_refused_like_any_other(quiet: Gateway) -> None:
    """Case 11: a `$` lets it pass in Python."""
    routes = {route.name: route for route in ROUTES}
    lead = {"partnerId": "acme", "externalLeadId": "1", "payload": {}}
    for name, body in {
        "payments_expect": {"reference": "r1", "amount": 2000, "currency": "usd\n"},
        "config_change": {"key": "abc\n", "value": 1},
        "leads_deliver": {"leadId": str(new_id()), "partnerId": "acme\n"},
        "admin_replay_begin": {"source": "stripe\n", "dryRun": True},
        "search_index": {"index": "properties", "id": "p\n", "op": "delete"},
        "notifications_send": {"to": "u\n", "channel": "EMAIL", "template": "payment-failed", "data": {}},
    }.items():
        assert await ask(quiet, routes[name], fixed(routes[name]), json.dumps(body).encode()) == (422, "field_invalid"), name
    for body in ({**lead, "partnerId": "acme\n"}, {**lead, "externalLeadId": "1\n"}):
        answer = await ask(quiet, routes["partner"], routes["partner"].path, json.dumps(body).encode())
        assert answer == (400, "event_malformed")
    assert await quiet.rows("config") == []
    assert await quiet.rows("reconciliations") == []
