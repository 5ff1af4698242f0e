"""The middleware of every page: it checks session and form token, sets the security headers, and renders refusals."""

import hmac
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import structlog
from aiohttp import web
from multidict import MultiDictProxy

from console.errors import ConsoleError, Reason
from console.pages import SESSION, Session, page
from console.sessions import find_session, form_token
from gateway.errors import GatewayError
from gateway.errors import Reason as OfGateway
from gateway.keys import CALL, CALLER, GATEKEEPER, REFUSAL, SECRET_USES
from gateway.middlewares import ids_of, pattern_of, record_call
from gateway.postgres import reading
from gateway.problems import INTERNAL_ERROR, RETRYABLE, of_http
from gateway.secrets.tokens import Caller
from schemas.text import is_storable

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COOKIE: Final = "tallyhook_console"
FORM_FIELD: Final = "form_token"
FORM_HEADER: Final = "X-Form-Token"
OPEN: Final = ("/console/static/", "/console/sign-in")
"""The beginnings of the paths that are served without a session."""
_FOR_ALL: Final = ("/console/sign-out",)
"""The paths to which every role may POST."""
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
        "frame-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_OURS: Final = {"same-origin", "none"}


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serve a page if the session allows it; every POST is recorded in the audit log, also a refused one."""
    began = time.monotonic()
    try:
        response = await _serve(request, handler)
    except (GatewayError, ConsoleError) as error:
        response = _refused(request, error)
    except web.HTTPException as error:
        response = _refused(request, of_http(error.status))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    except Exception:
        if request.transport is None:  # the browser has disconnected: the outer middleware handles this
            raise
        log.exception("request_failed", reason=INTERNAL_ERROR.reason, path=pattern_of(request), **ids_of(request))
        response = _refused(request, INTERNAL_ERROR)
    if request.method not in {"GET", "HEAD"}:
        record_call(request, response, began)
    return response


async def protect(_: web.Request, response: web.StreamResponse) -> None:
    """Set the security headers of an answer before its headers are sent."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)  # a frame has its own, stricter policy


async def form_fields(request: web.Request) -> list[tuple[str, str]]:
    """Return the fields of the form that were filled in, without its token."""
    return [(name, str(value)) for name, value in (await read_form(request)).items() if name != FORM_FIELD and value]


async def read_form(request: web.Request) -> MultiDictProxy[Any]:
    """Return the fields of a form of our pages, all of them text. Raises GatewayError `request_malformed`."""
    if request.content_type == "multipart/form-data" or (request.charset or "utf-8").lower() != "utf-8":
        raise GatewayError(OfGateway.REQUEST_MALFORMED, "A form has to be in UTF-8, and must not be multipart.")
    try:
        form = await request.post()
        if form:  # aiohttp replaces quoted bytes that are not UTF-8
            unquote_to_bytes(await request.read()).decode()
    except UnicodeDecodeError as error:
        raise GatewayError(OfGateway.REQUEST_MALFORMED, "The form is not UTF-8.") from error
    if not is_storable(list(form.items())):
        raise GatewayError(OfGateway.REQUEST_MALFORMED, "The form contains a NUL character.")
    return form


async def _serve(request: web.Request, handler: Handler) -> web.StreamResponse:
    _check_address(request)
    changing = request.method not in {"GET", "HEAD"}
    if changing and request.headers.get("Sec-Fetch-Site", "none") not in _OURS:
        raise ConsoleError(Reason.FORM_WRONG, "The form was sent by a page of another site.")
    if not request.path.startswith(OPEN):
        session = request[SESSION] = await _session_of(request)
        if changing:
            await _check_change(request, session)
    return await handler(request)


def _check_address(request: web.Request) -> None:
    """
    Refuse an address that is not text before a page repeats it: aiohttp decodes each byte outside UTF-8 to a lone surrogate.

    Raises GatewayError, as the API does: `not_found` if the path contains a NUL, else `request_malformed` or `query_malformed`.
    """
    path = [request.path, *request.match_info.values()]
    if any("\0" in part for part in path):
        raise GatewayError(OfGateway.NOT_FOUND, "There is nothing here.")
    if not is_storable(path):
        raise GatewayError(OfGateway.REQUEST_MALFORMED, "The path of this address is not UTF-8.")
    if not is_storable(list(request.query.items())):
        raise GatewayError(OfGateway.QUERY_MALFORMED, "The query of this address is not UTF-8, or contains a NUL character.")


async def _session_of(request: web.Request) -> Session:
    """Return the session of the browser's cookie; its token must still be valid. Raises ConsoleError `session_missing`."""
    key = request.cookies.get(COOKIE)
    if key:
        async with reading(request) as connection:
            holder = await find_session(connection, key)
        if holder and request.app[GATEKEEPER].is_live(Caller(*holder)):
            request[CALLER] = Caller(*holder)
            request.app[SECRET_USES].count(holder.secret_id)
            return Session(holder, form_token(key))
    raise ConsoleError(Reason.SESSION_MISSING, "Sign in to see this page.")


async def _check_change(request: web.Request, session: Session) -> None:
    given = request.headers.get(FORM_HEADER) or (await read_form(request)).get(FORM_FIELD)
    if not isinstance(given, str) or not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), session.form_token.encode()):
        raise ConsoleError(Reason.FORM_WRONG, "This form belongs to another session. Load the page again, then repeat it.")
    if not session.changes and request.path not in _FOR_ALL:
        raise GatewayError(OfGateway.TOKEN_READ_ONLY, "This session may only read.")


def _refused(request: web.Request, error: GatewayError | ConsoleError) -> web.Response:
    request[REFUSAL] = error.reason.value
    if error.reason is Reason.SESSION_MISSING:
        response = page(request, "sign_in.html", status=error.status, next=request.path_qs, complaint="")
        response.headers["HX-Refresh"] = "true"  # the form must not appear inside a part of a page
        return response
    template = "_refused.html" if "HX-Request" in request.headers else "refused.html"
    trace = request[CALL].trace.trace_id if error is INTERNAL_ERROR else ""
    response = page(request, template, status=error.status, reason=error.reason.value, detail=str(error), trace=trace)
    if isinstance(error, GatewayError) and HTTPStatus(error.status) in RETRYABLE:
        response.headers["Retry-After"] = str(error.retry_after)
    return response
