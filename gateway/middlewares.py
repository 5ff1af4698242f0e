"""Middlewares around every handler: the trace, the refusals, and on the internal listener the token and the audit log."""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web
from structlog.contextvars import bind_contextvars

from gateway import metrics
from gateway.audit_log import Audited
from gateway.errors import GatewayError, Reason
from gateway.keys import AUDIT, CALL, CALLER, ENDPOINT, GATEKEEPER, PLACE, REFUSAL, REFUSAL_LOG, SCHEMA, SECRET_USES, Call
from gateway.problems import INTERNAL_ERROR, TRACE_HEADER, of_http, response_of
from gateway.route import ROUTES
from gateway.secrets.tokens import Role, check_role
from runtime import tracing
from runtime.ids import new_id
from runtime.tracing import parse_traceparent, trace_of_call
from schemas.providers import providers

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_UNRECORDED: Final = ("/health/", "/metrics")  # requested every few seconds, and of no interest in a trace
_WITHOUT_SCHEMA: Final = (*_UNRECORDED, "/openapi.json")
_SERVER_ERROR: Final = 500
_GONE: Final = GatewayError(Reason.REQUEST_MALFORMED, "the client left before its request was complete")
# The roles that paths need which no route serves, by their prefixes.
_ROLES: Final[tuple[tuple[str, Role], ...]] = (("/v1/admin/", "admin"), ("/internal/", "service"))


@web.middleware
async def trace_and_refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its trace, and turn any exception into an answer: one middleware, since each slows every request."""
    call = request[CALL] = _call(request)
    trace_id = call.trace.trace_id
    began = tracing.now()
    try:
        _require_schema(request)
        response = await (_in_span(request, handler) if began else handler(request))
    except GatewayError as error:
        response = _refuse(request, error, trace_id)
    except web.HTTPException as error:
        response = _refuse(request, of_http(error.status), trace_id)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    except Exception:
        if request.transport is None:  # a client that leaves in the middle of a body is no bug of ours
            return _refuse(request, _GONE, trace_id)
        bind_contextvars(trace_id=trace_id)
        log.exception("request_failed", reason=INTERNAL_ERROR.reason, path=pattern_of(request), **ids_of(request))
        response = _refuse(request, INTERNAL_ERROR, trace_id)
    response.headers[TRACE_HEADER] = trace_id
    if began:
        _record_span(request, response, began)
    return response


@web.middleware
async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn a refusal into its answer, for callers whose calls are neither traced nor counted."""
    try:
        return await handler(request)
    except GatewayError as error:
        return response_of(error)


def _require_schema(request: web.Request) -> None:
    """Refuse a request while the tables are missing, or are not those that this release knows."""
    unfit = request.app[SCHEMA].unfit if SCHEMA in request.app else None
    if unfit and not request.path.startswith(_WITHOUT_SCHEMA):
        raise GatewayError.of(*unfit)


async def _in_span(request: web.Request, handler: Handler) -> web.StreamResponse:
    with tracing.transaction({}, request[CALL].trace):
        return await handler(request)


def _record_span(request: web.Request, response: web.StreamResponse, began: int) -> None:
    resource = request.match_info.route.resource
    if resource is None or resource.canonical.startswith(_UNRECORDED):
        return
    caller = parse_traceparent(request.headers.get("traceparent"))
    tracing.record(
        f"{request.method} {resource.canonical}",
        request[CALL].trace,
        began,
        parent=caller.span_id if caller else None,
        kind="server",
        failed=response.status >= _SERVER_ERROR,
        http__request__method=request.method,
        http__route=resource.canonical,
        http__response__status_code=response.status,
        tallyhook__reason=request.get(REFUSAL),
    )


@web.middleware
async def require_token(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Require a token that is sufficient for the route; without a known token, the answer does not reveal which paths exist."""
    bind_contextvars(trace_id=request[CALL].trace.trace_id)
    if role := _needed(request):
        caller = request[CALLER] = request.app[GATEKEEPER].recognise(request.headers.get("X-Internal-Token"))
        metrics.SECRET_USES.labels(caller.role, caller.secret_id).inc()
        request.app[SECRET_USES].count(caller.secret_id)
        check_role(caller, role, readable=_is_readable(request))
    return await handler(request)


def _is_readable(request: web.Request) -> bool:
    """Return True if a reader may call it: everything that changes nothing, except raw bodies."""
    route = request.app[ROUTES].get(request.match_info.route.name or "")
    return route.readable if route else request.method in {"GET", "HEAD"}


def _needed(request: web.Request) -> Role | None:
    route = request.app[ROUTES].get(request.match_info.route.name or "")
    if route:
        return route.role
    return next((role for prefix, role in _ROLES if request.path.startswith(prefix)), None)


def _call(request: web.Request) -> Call:
    """A trace that starts here has the request's own UUIDv7 as its id, which holds the time at which to look for it."""
    call_id = new_id()
    return Call(call_id, trace_of_call(request.headers.get("traceparent"), call_id.hex))


def _refuse(request: web.Request, error: GatewayError, trace_id: str) -> web.Response:
    bind_contextvars(trace_id=trace_id)
    source, endpoint = _source_of(request), request.get(ENDPOINT, "")
    metrics.REFUSALS.labels(source, error.reason, endpoint).inc()
    request[REFUSAL] = error.reason.value
    if error.reason is Reason.RATE_LIMITED:  # a limited client is logged once, so that a flood does not fill the disk
        return response_of(error, trace_id)
    path, ids = pattern_of(request), ids_of(request)
    facts = {"status": error.status, "source": source, "path": path, **ids} | ({"endpoint": endpoint} if endpoint else {})
    request.app[REFUSAL_LOG].note(error.reason, request.remote, **facts)
    return response_of(error, trace_id)


def _source_of(request: web.Request) -> str:
    """The name of the route, or of the source whose webhooks it receives."""
    name = request.match_info.route.name or "none"
    route = request.app.get(ROUTES, {}).get(name)
    return route.source or name if route else name


_PLACE_IN_PATH: Final = "{provider}/{id}"
_AUDITED: Final = ("/internal/", "/v1/admin/")


@web.middleware
async def audit_call(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Record the call once it is answered; outermost, so that refusals are recorded too."""
    if not request.path.startswith(_AUDITED):
        return await handler(request)
    began = time.monotonic()
    response = await handler(request)
    record_call(request, response, began)
    return response


def record_call(request: web.Request, response: web.StreamResponse, began: float) -> None:
    """Put a call into the audit log; `began` is the monotonic time of its start."""
    call, caller = request[CALL], request.get(CALLER)
    request.app[AUDIT].offer(
        Audited(
            id=call.id,
            method=request.method,
            path=_audited_path(request),
            status=response.status,
            trace_id=call.trace.trace_id,
            duration_ms=round((time.monotonic() - began) * 1000),
            role=caller.role if caller else None,
            secret_id=caller.secret_id if caller else None,
            reason=request.get(REFUSAL),
            client=request.remote,
        )
    )


def _audited_path(request: web.Request) -> str:
    """The pattern of the path, with the endpoint that it names if that exists: any other text may be a secret."""
    pattern = pattern_of(request)
    return pattern.replace(_PLACE_IN_PATH, request[PLACE]) if PLACE in request else pattern


NO_ROUTE: Final = "(no such route)"
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)
_PREFIXES: Final = "|".join(dict.fromkeys(prefix for provider in providers() for prefix in provider.id_prefixes))
_OF_PROVIDER: Final = re.compile(rf"((?:{_PREFIXES})_\w{{4}})\w*", re.ASCII)
"""An id of a provider; the group is the part that is enough to find its row."""


def pattern_of(request: web.Request) -> str:
    """The path as its route declares it."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else NO_ROUTE


def ids_of(request: web.Request) -> dict[str, str]:
    """The parts of a path that are certainly ids: a whole UUID, or the beginning of a provider's id."""
    return {name: short for name, text in request.match_info.items() if (short := short_id(text))}


def short_id(text: str) -> str | None:
    if _UUID.fullmatch(text):
        return text
    found = _OF_PROVIDER.fullmatch(text)
    return f"{found[1]}…" if found else None
