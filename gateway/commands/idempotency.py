"""
`Idempotency-Key` on the POSTs of the internal listener, except those whose answers must not be kept.

A key belongs to the caller's role, so that it outlives the rotation of a token, and to one request: method, path with query, and
body, byte for byte. Answers up to 3xx are kept for a day. Refusals are not: nothing was done, so the key is free for a corrected
request. After an error of ours, or the death of a gateway, the key stays bound, and the same request may be sent again.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import psycopg
import structlog
from aiohttp import web

from gateway.commands import idempotency_store
from gateway.commands.idempotency_store import Answer, Claimed, InProgress, Key
from gateway.errors import GatewayError, Reason
from gateway.keys import CALL, CALLER, COMMAND_ID, COMMANDS, PRESENCE, RECORDED
from gateway.postgres import refusing_outages
from gateway.route import ROUTES
from schemas.text import IdempotencyKey, accepts

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
_PATIENCE: Final = 2.0  # seconds that a call waits for another one under the same key
_RETRY_EVERY: Final = 0.05


@web.middleware
async def honour_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Handle one call under each key, and return its answer to repeated calls."""
    route = request.app[ROUTES].get(request.match_info.route.name or "")
    if route is None or not route.takes_key or HEADER not in request.headers or CALLER not in request:
        return await handler(request)
    key = await _key(request)
    claimed = await _claim(request, key)
    if isinstance(claimed, Answer):
        return web.Response(
            status=claimed.status,
            body=claimed.body,
            headers={"Content-Type": claimed.content_type, REPLAYED: "true"},
        )
    request[COMMAND_ID] = claimed.call_id
    try:
        response = await handler(request)
    except BaseException as error:
        await _give_up(request, key, nothing_done=_is_refusal(error) and not request.get(RECORDED, False))
        raise
    await _keep(request, key, response)
    return response


async def _key(request: web.Request) -> Key:
    text, *others = dict.fromkeys(request.headers.getall(HEADER))  # a proxy may have doubled it
    if others or not accepts(IdempotencyKey, text):
        raise GatewayError(Reason.IDEMPOTENCY_KEY_MALFORMED, f"{HEADER} is one key of 1 to 255 printable ASCII characters")
    digest = hashlib.sha256(f"{request.method} {request.raw_path}\n".encode("utf-8", "surrogateescape"))
    digest.update(await request.read())
    return Key(request[CALLER].role, text, digest.digest())


async def _claim(request: web.Request, key: Key) -> Claimed | Answer:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE
    while True:
        async with _connection(request) as connection:
            outcome = await idempotency_store.claim(connection, key, request[CALL].id, request.app[PRESENCE].shown)
        match outcome:
            case Claimed() | Answer():
                return outcome
            case InProgress() if loop.time() < deadline:
                await asyncio.sleep(_RETRY_EVERY)
            case InProgress():
                raise GatewayError(Reason.IDEMPOTENCY_IN_PROGRESS, "another request under this key is under way; try again")
            case _:
                raise GatewayError(Reason.IDEMPOTENCY_KEY_REUSED, "this key was used for another request")


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, GatewayError | web.HTTPException) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR


async def _keep(request: web.Request, key: Key, response: web.StreamResponse) -> None:
    if response.status >= HTTPStatus.BAD_REQUEST or not isinstance(response, web.Response):
        await _give_up(request, key, nothing_done=False)
        return
    body = response.body if isinstance(response.body, bytes) else b""
    answer = Answer(response.status, response.headers.get("Content-Type", "application/json"), body)
    try:
        async with _connection(request) as connection:
            await idempotency_store.keep(connection, key, answer)
    except GatewayError as error:
        # The work is done, so its answer is returned; a repeated call has the same id and changes nothing.
        log.warning("answer_not_kept", reason=error.reason, trace_id=request[CALL].trace.trace_id)


async def _give_up(request: web.Request, key: Key, *, nothing_done: bool) -> None:
    try:
        async with _connection(request) as connection:
            await (idempotency_store.release if nothing_done else idempotency_store.break_off)(connection, key)
    except GatewayError as error:
        log.warning("key_not_released", reason=error.reason, trace_id=request[CALL].trace.trace_id)


@asynccontextmanager
async def _connection(request: web.Request) -> AsyncIterator[psycopg.AsyncConnection]:
    with refusing_outages():
        async with request.app[COMMANDS].connection() as connection:
            yield connection
