"""Refusals: one list of reasons, one shape of answer."""

from __future__ import annotations

import msgspec
import pytest

from gateway.errors import GatewayError, Reason
from gateway.problems import of_http, response_of


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_status_and_a_problem_body(reason: Reason) -> None:
    response = response_of(GatewayError(reason, "because"), "0" * 32)
    assert isinstance(response.body, bytes)
    problem = msgspec.json.decode(response.body)
    assert response.content_type == "application/problem+json"
    assert response.status == reason.status == problem["status"]
    assert problem["reason"] == reason.value
    assert problem["type"].endswith(reason)
    assert problem["detail"] == "because"
    assert problem["traceId"] == response.headers["X-Trace-Id"] == "0" * 32
    assert ("Retry-After" in response.headers) == (response.status in (429, 503))


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, Reason.NOT_FOUND),
        (405, Reason.METHOD_NOT_ALLOWED),
        (413, Reason.BODY_TOO_LARGE),
        (417, Reason.EXPECT_HEADER_UNKNOWN),
        (400, Reason.REQUEST_MALFORMED),
        (422, Reason.REQUEST_MALFORMED),
        (500, Reason.INTERNAL_ERROR),
        (504, Reason.INTERNAL_ERROR),
    ],
)
def test_a_refusal_of_the_server_itself_has_a_reason_of_ours(status: int, reason: Reason) -> None:
    assert of_http(status).reason is reason


@pytest.mark.parametrize(
    ("reason", "title"), [(Reason.BODY_TOO_LARGE, "Content Too Large"), (Reason.FIELD_INVALID, "Unprocessable Content")]
)
def test_a_title_is_the_same_on_every_python(reason: Reason, title: str) -> None:
    body = response_of(GatewayError(reason, "because")).body
    assert isinstance(body, bytes)
    assert msgspec.json.decode(body)["title"] == title
