"""
The gateway accepts exactly the bodies that fit the published schemas of our commands.

Not in a schema, since none can express it: `from` is before `to`; a pattern may begin with a wildcard only if `cache.allow_all`
is true; a partner has to be configured; a value of the configuration has at most 64 KiB and no NUL within; a domain beyond ASCII
is one by IDNA.
"""

from __future__ import annotations

import asyncio
import json
import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import jsonschema_rs
import msgspec
import pytest

from ops.contracts import openapi
from ops.contracts.examples import EXAMPLES
from ops.processes.routes import INTERNAL
from projections.config_keys import KEYS
from schemas.templates import TEMPLATES
from tests.gateways import ADMIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.route import Route
    from tests.gateways import StartGateway

DOCUMENT: Final = msgspec.json.decode(openapi.text())
ROUTES: Final = [route for route in INTERNAL if route.body and route.name != "contact_post"]  # which is `contact_put` again
OF_BODIES: Final = {
    *("body_not_json", "field_invalid", "address_invalid", "channel_unknown", "template_unknown", "template_channel_unknown"),
    *("data_missing", "data_invalid", "config_key_unknown", "config_value_invalid", "pattern_too_broad", "index_unknown"),
    *("filter_missing", "filter_contradictory"),
}
NUMBERS: Final = ["0", "1", "-1", "1.0", "1e3", "2284.0", "0.5", "1001", "1000001", "100000.0", "9007199254740993.0", "1e400"]
NUMBERS += ["9223372036854775807", "9223372036854775807.0", "9223372036854775808", "4611686018427387905", "-9223372036854775809"]
TEXTS: Final = ["", " ", "a", "ab", "x" * 255, "x" * 256, "x" * 320, "x" * 321, "x" * 512, "x" * 513, "x" * 1025, "x" * 2049]
TEXTS += ["é" * 256, "é" * 257, "例" * 170, "例" * 171, "🦊" * 128, "🦊" * 129, "a\n", "a\0b", "\x7f", "\x85", "\u2028", "\ufeff"]
TEXTS += ["eur", "EUR", "euro", "acme", "-acme", "a b", "a/b", "/b", "a/", "a/b/c", "de-CH", "d", "+4915112345678", "+0123456"]
TEXTS += ["jo@example.com", "jo@gmail..com", ".jo@gmail.com", "jo@10.0.0.1", "jo@[10.0.0.1]", "jo@[10.0.0.256]", "jo @b.c", "@b"]
TEXTS += ["=?utf-8?q?jo?=@example.com", "a" * 64 + "@b.c", "a" * 65 + "@b.c", "jo@-a.com", "jo@" + "a" * 64 + ".com", '"jo"@b.c']
TEXTS += [
    "user:*",
    "a*b*c*d*e*f",
    "a*b*c*d*e*f*",
    "properties",
    "others",
    "upsert",
    "delete",
    "EMAIL",
    "FAX",
    "rejected",
    "accepted",
]
TEXTS += ["200/second", "0/second", "1000000 per 31 days", "1000001/second", "1/32 days", "off", "OFF", "many", *TEMPLATES]
TEXTS += [
    "customer",
    "user",
    "email",
    "lead",
    "lead.max_attempts",
    "Lead.max_attempts",
    "lead",
    "partner.NOBODY!.paused",
    "shop.colour",
]
TEXTS += [key.name for key in KEYS if "{ID}" not in key.name]
OTHERS: Final = ["null", "true", "false", "[]", "{}", '["a"]', '[""]', '["EMAIL"]', '["FAX"]', "[null]", "[[]]", '{"deleted": 1}']
OTHERS += ['{"a": 1}', '["a*b*c*d*e*f*g"]', '{"providerPaymentId": "pi_1", "amount": 2284.0, "currency": "eur"}']
OTHERS += ['{"providerPaymentId": "pi_1", "amount": 2284.5, "currency": "eur", "provider": null}', json.dumps(["x"] * 1001)]
OTHERS += [
    '{"providerPaymentId": "pi_1", "amount": 1, "currency": "eur", "provider": 5}',
    json.dumps(["x"] * 101),
    json.dumps(["x"] * 21),
]
VALUES: Final = [*NUMBERS, *map(json.dumps, TEXTS), *OTHERS]
FORMATS: Final = ["null", "5", '""', '"2026-11-24T10:00:00Z"', '"01a20e74-0deb-71bc-83dc-7d8a5b6f4f28"', '"yesterday"']
"""For a field with a `format`, which is only a note in JSON Schema and a rule in the gateway."""


def bodies_of(name: str) -> Iterator[str]:
    """Yield the example without each field, with each value in each field, then with two or three fields changed at random."""
    schema = DOCUMENT["components"]["schemas"][name]
    example = {field: json.dumps(value) for field, value in schema["examples"][0].items()}
    pools = {
        field: FORMATS if "format" in str(of) and "int64" not in str(of) else VALUES for field, of in schema["properties"].items()
    }
    for field, pool in pools.items():
        yield written({other: value for other, value in example.items() if other != field})
        yield from (written({**example, field: value}) for value in pool)
    chance = random.Random(name)
    for _ in range(150):
        changed = dict(example)
        for field in chance.sample(sorted(pools), k=min(len(pools), chance.choice([2, 2, 3]))):
            changed.pop(field, None)
            if chance.random() < 0.8:
                changed[field] = chance.choice(pools[field])
        yield written(changed)
    yield from ("[]", "null", '"text"', "{}", written({**example, "unknown": "1"}))


def written(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


def is_left_to_words(body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    period = isinstance(body.get("from"), str) and isinstance(body.get("to"), str)
    patterns = body.get("patterns")
    wild = isinstance(patterns, list) and any(str(pattern)[:1] in {"*", "?", "["} for pattern in patterns)
    return period or wild


def exactly(number: str) -> int | float:
    exact = Decimal(number)
    return int(exact) if exact.adjusted() < 30 and exact == exact.to_integral_value() else float(number)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_exactly_the_bodies_that_fit_the_schema_are_accepted(route: Route, start_gateway: StartGateway) -> None:
    name = next(
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for item in DOCUMENT["paths"].values()
        for operation in item.values()
        if operation["operationId"] == route.name
    )
    root = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    fits = jsonschema_rs.Draft202012Validator(root, validate_formats=True)  # its patterns are those of ECMA-262
    path = (
        route.path.replace("{userId}", "user-7")
        .replace("{provider}", "stripe")
        .replace("{id}", "01a20e74-0deb-71bc-83dc-7d8a5b6f4f28")
    )
    wrong: list[str] = []
    async with start_gateway(COMMAND_WAIT="1ms", PARTNER_ACME_SECRET="acme") as gateway:
        turns = asyncio.Semaphore(8)

        async def judge(body: str) -> None:
            value = json.loads(body, parse_float=exactly)
            if is_left_to_words(value):
                return
            refusal, headers = "", {**ADMIN, "Content-Type": "application/json"}
            async with (
                turns,
                gateway.client.request(route.method, f"{gateway.internal}{path}", data=body.encode(), headers=headers) as answer,
            ):
                if answer.status >= 400:
                    problem = await answer.json(content_type=None)
                    refusal = f"{problem['reason']}: {problem['detail']}"
                    assert answer.status < 500, (body, refusal)
            taken = refusal.partition(":")[0] not in OF_BODIES
            if taken != fits.is_valid(value):
                wrong.append(f"{'taken' if taken else 'refused'}, by the schema not: {body[:300]} {refusal}")

        await asyncio.gather(*map(judge, dict.fromkeys(bodies_of(name))))
    assert not wrong, "\n".join(wrong)


def test_each_of_them_has_an_example_and_is_tried() -> None:
    assert {route.body for route in ROUTES} <= {type(example) for example in EXAMPLES}
    assert len(ROUTES) >= 10
