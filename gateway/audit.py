"""Around every call of the internal listener: what will be asked about it later."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.audit_log import Audited
from gateway.keys import AUDIT, CALL, CALLER, REFUSAL
from gateway.paths import pattern_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_AUDITED: Final = ("/internal/", "/v1/admin/")


@web.middleware
async def audit_call(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Record the call once it is answered; outermost, so that refusals are recorded too."""
    if not request.path.startswith(_AUDITED):
        return await handler(request)
    began = time.monotonic()
    response = await handler(request)
    call, caller = request[CALL], request.get(CALLER)
    request.app[AUDIT].offer(
        Audited(
            id=call.id,
            method=request.method,
            path=pattern_of(request),
            status=response.status,
            trace_id=call.trace.trace_id,
            duration_ms=round((time.monotonic() - began) * 1000),
            role=caller.role if caller else None,
            secret_id=caller.secret_id if caller else None,
            reason=request.get(REFUSAL),
            client=request.remote,
        )
    )
    return response
