"""A partner's lead at the gateway: its idempotency key, and its answer."""

from hashlib import sha256
from http import HTTPStatus
from typing import Final
from uuid import UUID

import msgspec
from aiohttp import web
from psycopg import AsyncConnection

from gateway.errors import GatewayError, Reason
from gateway.postgres import transaction
from gateway.webhooks.sources import Headers
from outbox.append import Received, Recorded
from projections import leads
from schemas.text import IdempotencyKey, accepts

_KEY_HEADER: Final = "Idempotency-Key"


class LeadsAccepted(msgspec.Struct, frozen=True):
    """The lead is committed."""

    id: UUID  #: The lead's id, the same for every copy of it.
    accepted: bool = True  #: Always true.


async def bind_key(request: web.Request, received: Received) -> None:
    """
    Bind the caller's Idempotency-Key to this body, for ever, before the lead is recorded.

    If the lead is not recorded after all, the partner sends it again under the same key with the same body, and it is accepted.
    Raises GatewayError: `postgres_unavailable`, and those of `claim_key`.
    """
    if _KEY_HEADER in request.headers:
        async with transaction(request) as connection:
            await claim_key(connection, request.headers, received)


async def claim_key(connection: AsyncConnection, headers: Headers, received: Received) -> None:
    """
    Bind the key of a lead, if it has one, to the lead's body, in the open transaction.

    Raises GatewayError: `idempotency_key_reused`, `request_malformed`.
    """
    if _KEY_HEADER not in headers:
        return
    key, *others = dict.fromkeys(headers.getall(_KEY_HEADER))  # a proxy may have doubled it
    if others or not accepts(IdempotencyKey, key):
        raise GatewayError(Reason.REQUEST_MALFORMED, f"{_KEY_HEADER} must be one key of 1 to 255 printable ASCII characters")
    partner = received.provider_event_id.partition("/")[0]
    if not await leads.bind_key(connection, partner, key, sha256(received.event.data).digest()):
        raise GatewayError(Reason.IDEMPOTENCY_KEY_REUSED, f"this {_KEY_HEADER} was used with another body before")


def answer(_: Received, recorded: Recorded) -> web.Response:
    """202 for a new lead, 200 with the same id for a duplicate."""
    status = HTTPStatus.OK if recorded.outcome == "duplicate" else HTTPStatus.ACCEPTED
    return web.json_response(status=status, body=msgspec.json.encode(LeadsAccepted(recorded.event_id)))
