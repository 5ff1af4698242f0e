"""`tallyhook partners pause` and `resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operations.output import Json, operator, show, with_database
from operations.partners.command import app
from operations.partners.shell import Name, key_named, note, registry_of_settings

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from projections.partners import Pause


@app.command("pause")
def pause(partner: Name, as_json: Json = False) -> None:
    """Hold a partner's leads back: they are still accepted and stored, but none is delivered, and no attempt is counted."""
    _set(partner, paused=True, as_json=as_json)


@app.command("resume")
def resume(partner: Name, as_json: Json = False) -> None:
    """Deliver a partner's leads again, also if the runtime configuration holds them back and not its terms."""
    _set(partner, paused=False, as_json=as_json)


def _set(partner: str, *, paused: bool, as_json: bool) -> None:
    registry, key = registry_of_settings(), key_named(partner)

    async def run(connection: AsyncConnection) -> Pause:
        from operations.partners import pausing
        from runtime.ids import new_id
        from runtime.tracing import new_trace

        async with connection.transaction():
            change = pausing.Change(new_id(), operator(), new_trace())
            found = await pausing.pause(connection, registry, key, change, paused=paused)
            await note(connection, f"{'pause' if paused else 'resume'} {key}")
            return found

    found = with_database(run)
    state = "is paused: its leads wait" if found.paused else "is not paused: its leads are delivered"
    show({"id": key, **found._asdict()}, f"{key} {state}", as_json=as_json)
