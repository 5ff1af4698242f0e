"""The leads of a partner, held back or let go: by its terms, or by the runtime configuration where that decides."""

from typing import NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from operations.errors import OperationError, Reason
from operations.partners.registry import Registry
from projections import config
from projections.partner_store import PARTNERS
from projections.partners import Pause, pause_key, read_pauses
from runtime.tracing import Trace
from schemas.partners import key_of


class Change(NamedTuple):
    """The call that changes a pause: its own id, who made it, and its step in the trace."""

    id: UUID
    by: str
    trace: Trace


async def pause(connection: AsyncConnection, registry: Registry, partner: str, change: Change, *, paused: bool) -> Pause:
    """
    Hold the partner's leads back or let them go, in the open transaction; returns what holds from then on.

    A value of the configuration stands before the terms, so where there is one it is changed; leads that it alone has held are
    let go by its default. Raises OperationError `not_found`, and where the terms cannot be sealed.
    """
    key = key_of(partner)
    row = await PARTNERS.read_to_change(connection, key)
    if row is None and key not in registry.environment:
        raise OperationError(Reason.NOT_FOUND, f"there is no partner {key}")
    now = (await read_pauses(connection, registry.environment))[key]
    if now.paused == paused:
        return now
    if now.by == "terms":
        await registry.pause(connection, key, change.by, paused=paused)
        return Pause(paused, "terms")
    held_by_terms = row is not None and key not in registry.environment and row.terms.paused
    value = True if paused else False if held_by_terms else None
    await config.change(connection, pause_key(key), value, expected=None, change_id=change.id, by=change.by, trace=change.trace)
    return (await read_pauses(connection, registry.environment))[key]
