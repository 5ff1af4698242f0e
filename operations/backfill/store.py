"""The known events of a provider, and the recording of unknown ones with intake's own statement."""

from collections.abc import Sequence
from typing import Final

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from outbox.append import Received, Recorded, record

_KNOWN: Final = "select provider_event_id from dedup where source = %s and provider_event_id = any(%s)"
_NOTE: Final = "update webhook_deliveries set headers = %s where id = any(%s) and headers is null"


async def find_known(connection: AsyncConnection, source: str, ids: Sequence[str]) -> set[str]:
    """Return those of the provider's event ids that have ever arrived."""
    rows = await (await connection.execute(_KNOWN, (source, list(ids)))).fetchall()
    return {row[0] for row in rows}


async def record_missing(connection: AsyncConnection, batch: Sequence[Received], origin: dict[str, str]) -> list[Recorded | None]:
    """
    Record the events that never arrived, with their origin, in one transaction.

    The outcome is None for a copy whose original is not visible yet.
    If the same event arrives as a webhook at the same moment, one of the two is a duplicate, as in intake.
    """
    async with connection.transaction():
        outcomes = await record(connection, batch)
        ids = [received.event.id for received in batch]
        await connection.execute(_NOTE, (Jsonb(origin), ids))
        return outcomes
