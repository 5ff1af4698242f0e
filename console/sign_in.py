"""Signing in with an operator's token or a one-time link, and signing out."""

import re
from typing import Final

from aiohttp import web

from console.errors import ConsoleError, Reason
from console.middleware import COOKIE, read_form
from console.pages import page, redirect
from console.sessions import SESSION_LASTS, Holder, begin_session, end_session, redeem_link
from gateway.clients import Clients
from gateway.errors import CalledTooOften, GatewayError
from gateway.keys import CALLER, GATEKEEPER, REFUSAL, SECRET_USES
from gateway.postgres import transaction
from gateway.secrets.tokens import Caller, check_role
from gateway.webhooks.rates import Rates
from runtime.rates import rate_of

HOME: Final = "/console/overview"
ATTEMPTS: Final = web.AppKey("attempts", Rates)
"""The attempts of each client address in this gateway."""
_OURS: Final = re.compile(r"/console/(?!sign-)(?!.*(?:\.\.|//))[\w/.?=&%+:~-]+", re.ASCII)
_RATE: Final = rate_of("10/minute")
_CLIENTS: Final = Clients()


def attempts() -> Rates:
    """Return the rate limit of attempts to sign in, by client address; it stores a bounded number of addresses."""
    return Rates(_RATE, None)


async def show_form(request: web.Request) -> web.Response:
    """Show the form; a one-time link opens it too, with its key in the fragment, which browsers do not send."""
    return page(request, "sign_in.html", next=_next(request.query.get("next", "")), complaint="")


async def sign_in(request: web.Request) -> web.Response:
    """Begin a session for the holder of a token or a link."""
    target = HOME
    try:
        await request.app[ATTEMPTS].acquire(_CLIENTS.of(request))
        form = await read_form(request)
        target = _next(str(form.get("next", "")))
        key = await _begin(request, str(form.get("token", "")), str(form.get("link", "")))
    except (GatewayError, ConsoleError) as error:
        request[REFUSAL] = error.reason.value
        response = page(request, "sign_in.html", status=error.status, next=target, complaint=_complaint(error))
        if isinstance(error, CalledTooOften):
            response.headers["Retry-After"] = str(error.retry_after)
        return response
    response = redirect(target)
    response.set_cookie(
        COOKIE,
        key,
        path="/console",
        max_age=int(SESSION_LASTS.total_seconds()),
        httponly=True,
        samesite="Strict",
        secure=request.secure,
    )
    return response


async def sign_out(request: web.Request) -> web.Response:
    """End the session, on every gateway."""
    async with transaction(request) as connection:
        await end_session(connection, request.cookies[COOKIE])
    response = redirect("/console/sign-in")
    response.del_cookie(COOKIE, path="/console")
    return response


async def _begin(request: web.Request, token: str, link: str) -> str:
    """Return the key of a new session. Raises GatewayError, ConsoleError."""
    gatekeeper = request.app[GATEKEEPER]
    if link:
        async with transaction(request) as connection:
            holder = await redeem_link(connection, link)
        if holder is None or not gatekeeper.is_live(Caller(*holder)):
            raise ConsoleError(Reason.LINK_SPENT, "This link was used before, or has expired.")
    else:
        caller = gatekeeper.recognise(token)
        request[CALLER] = caller
        check_role(caller, "admin", readable=True)
        holder = Holder("reader" if caller.role == "reader" else "admin", caller.secret_id)
    request[CALLER] = Caller(*holder)
    request.app[SECRET_USES].count(holder.secret_id)
    async with transaction(request) as connection:
        return await begin_session(connection, holder)


_COMPLAINTS: Final = {
    "token_missing": "Enter a token.",
    "token_wrong": "This token is unknown.",
    "admin_token_needed": "This is a token of a service. The console needs a token of an operator.",
    "rate_limited": "There were too many attempts. Wait a minute, then try again.",
    "postgres_unavailable": "Postgres does not answer now. Try again in a moment.",
}


def _complaint(error: GatewayError | ConsoleError) -> str:
    return _COMPLAINTS.get(error.reason.value, str(error))


def _next(path: str) -> str:
    """Return the page to open next: the given path if it is a page of the console, else the home page."""
    return path if _OURS.fullmatch(path) else HOME
