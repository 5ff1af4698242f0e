"""Around every call of the internal listener: what will be asked about it later."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.keys import AUDIT, CALL, CALLER, REFUSAL
from gateway.paths import pattern_of
from outbox.audit import Audited
from runtime.ids import new_id

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_AUDITED: Final = ("/internal/", "/v1/admin/")


@web.middleware
async def audit_call(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note the call once it is answered; outermost, so that what is refused is noted too."""
    if not request.path.startswith(_AUDITED):
        return await handler(request)
    audit_id, began = new_id(), time.monotonic()  # an id of its own: a repeated call has the id of the first one
    response = await handler(request)
    caller = request.get(CALLER)
    request.app[AUDIT].offer(
        Audited(
            id=audit_id,
            method=request.method,
            path=pattern_of(request),
            status=response.status,
            trace_id=request[CALL].trace.trace_id,
            duration_ms=round((time.monotonic() - began) * 1000),
            role=caller.role if caller else None,
            secret_id=caller.secret_id if caller else None,
            reason=request.get(REFUSAL),
            client=request.remote,
        )
    )
    return response
