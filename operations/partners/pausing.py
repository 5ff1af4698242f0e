"""Holding back and releasing the leads of a partner, by its terms or, if it has a value, by the runtime configuration."""

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
    """The call that changes a pause: its id, who made it (a token's public id, or a user at a shell), and its trace."""

    id: UUID
    by: str
    trace: Trace


async def pause(connection: AsyncConnection, registry: Registry, partner: str, change: Change, *, paused: bool) -> Pause:
    """
    Hold the partner's leads back or release them, in the open transaction; returns the pause that is in force then.

    A value of the configuration takes precedence over the terms, so it is changed if it exists; if only that value held the leads
    back, it is reset to its default. Raises OperationError: `not_found`, or if the secrets cannot be opened or sealed.
    """
    key = key_of(partner)
    row = await PARTNERS.read_for_update(connection, key)
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
