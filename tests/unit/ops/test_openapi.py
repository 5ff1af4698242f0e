"""OpenAPI: the published contract of both listeners."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.errors import Reason
from gateway.route import records_of
from ops.contracts import openapi
from ops.contracts.examples import EXAMPLES
from ops.processes.routes import INTERNAL, WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.route import Route

ROUTES = [*WEBHOOKS, *INTERNAL]
DOCUMENT = msgspec.json.decode(openapi.text())


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        yield from ((method, path, operation) for method, operation in item.items())


def test_it_is_openapi_31() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_its_file_is_up_to_date() -> None:
    assert openapi.FILE.read_bytes() == openapi.text(), "run `python -m ops.contracts.openapi`"


def test_every_route_is_in_it_under_its_own_name() -> None:
    assert [operation["operationId"] for *_, operation in operations()] == [route.name for route in by_path(ROUTES)]
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def by_path(routes: list[Route]) -> list[Route]:
    paths = list(dict.fromkeys(route.path for route in routes))
    return sorted(routes, key=lambda route: paths.index(route.path))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_route_below_a_role_s_prefix_asks_for_a_role(route: Route) -> None:
    prefix = next(
        (needed for start, needed in (("/v1/admin/", "admin"), ("/internal/", "service")) if route.path.startswith(start)), None
    )
    assert route.role == prefix or (prefix, route.role) == ("service", "admin")


def test_every_reason_is_that_of_some_route() -> None:
    of_none = {Reason.METHOD_NOT_ALLOWED}  # of parts outside the contract
    assert set(Reason) - of_none == {reason for route in ROUTES for reason in route.reasons}


def test_a_refusal_is_listed_with_its_reasons_under_its_status() -> None:
    for route, operation in zip(by_path(ROUTES), (operation for *_, operation in operations()), strict=True):
        described = {
            (int(status), reason)
            for status, response in operation["responses"].items()
            if int(status) >= HTTPStatus.BAD_REQUEST
            for reason in response["x-reasons"]
        }
        assert described == {(int(reason.status), str(reason)) for reason in route.reasons}


def test_a_retry_later_states_when() -> None:
    for *_, operation in operations():
        for status, response in operation["responses"].items():
            assert ("Retry-After" in response["headers"]) == (status in {"429", "503"})
            assert "X-Trace-Id" in response["headers"]


def test_every_body_has_an_example() -> None:
    assert {body for route in ROUTES for body in records_of(route.body)} <= {type(example) for example in EXAMPLES}


@pytest.mark.parametrize(
    "name", sorted(name for name, schema in DOCUMENT["components"]["schemas"].items() if "examples" in schema)
)
def test_examples_fit_their_schemas(name: str) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    for example in DOCUMENT["components"]["schemas"][name]["examples"]:
        jsonschema.validate(example, schema, format_checker=jsonschema.FormatChecker())


def test_times_have_the_format_of_times() -> None:
    payment = DOCUMENT["components"]["schemas"]["PaymentView"]["properties"]
    assert payment["updatedAt"]["format"] == "date-time"


def test_patterns_are_those_of_ecma_262() -> None:
    assert b"\\\\Z" not in openapi.text()


def test_a_body_of_stripe_is_a_snapshot_or_a_thin_event() -> None:
    stripe = {"$ref": "#/paths/~1v1~1webhooks~1stripe/post/requestBody/content/application~1json/schema", **DOCUMENT}
    snapshot, thin = (DOCUMENT["components"]["schemas"][name]["examples"][0] for name in ("StripeEvent", "ThinEvent"))
    jsonschema.validate(snapshot, stripe)
    jsonschema.validate(thin, stripe)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**thin, "created": 1.5}, stripe)
