"""Refusals as RFC 9457 problem details, including those of aiohttp."""

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, Reason
from runtime.redaction import redacted

CONTENT_TYPE: Final = "application/problem+json"
TRACE_HEADER: Final = "X-Trace-Id"
RETRYABLE: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})

# The refusals that aiohttp makes by itself, in our words.
_OF_STATUS: Final = {
    HTTPStatus.NOT_FOUND: GatewayError(Reason.NOT_FOUND, "this path does not exist"),
    HTTPStatus.METHOD_NOT_ALLOWED: GatewayError(Reason.METHOD_NOT_ALLOWED, "this method is not served here"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: GatewayError(Reason.BODY_TOO_LARGE, "the body is larger than the limit"),
    HTTPStatus.EXPECTATION_FAILED: GatewayError(Reason.EXPECT_HEADER_UNKNOWN, "only 100-continue can be expected"),
}
# The phrases of RFC 9110, which Python has had since 3.13: a title must not depend on the Python that serves it.
_PHRASES: Final = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}
_MALFORMED: Final = GatewayError(Reason.REQUEST_MALFORMED, "the request breaks HTTP's rules")
INTERNAL_ERROR: Final = GatewayError(Reason.INTERNAL_ERROR, "the gateway failed; find the details in its log by the trace id")


class Problem(msgspec.Struct, frozen=True):
    """An error, as problem details of RFC 9457."""

    type: str  #: A URN that ends in the reason.
    title: str  #: The HTTP status in words.
    status: int  #: The HTTP status code.
    detail: str  #: An explanation for people.
    reason: str  #: The stable word for the error.
    trace_id: str | None = msgspec.field(name="traceId", default=None)  #: The trace of the call, as in the header `X-Trace-Id`.
    fields: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The wrong fields of the body, all of them; absent if the error is not in fields."""


def title_of(status: HTTPStatus) -> str:
    """Return the phrase of a status, the same on every Python."""
    return _PHRASES.get(status, status.phrase)


def response_of(error: GatewayError, trace_id: str | None = None) -> web.Response:
    status = error.status
    detail = redacted(error.detail)
    problem = Problem(f"urn:tallyhook:problem:{error.reason}", title_of(status), status, detail, error.reason, trace_id)
    if error.fields:
        problem = msgspec.structs.replace(problem, fields=list(error.fields))
    headers = {TRACE_HEADER: trace_id} if trace_id else {}
    if status in RETRYABLE:
        headers["Retry-After"] = str(error.retry_after)
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Signature"
    return web.Response(body=msgspec.json.encode(problem), status=status, content_type=CONTENT_TYPE, headers=headers)


def of_http(status: int) -> GatewayError:
    """A refusal of aiohttp with this status, as one of ours."""
    known = _OF_STATUS.get(HTTPStatus(status))
    if known:
        return known
    return INTERNAL_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _MALFORMED
