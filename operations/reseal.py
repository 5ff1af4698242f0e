"""`tallyhook partners reseal` and `tallyhook endpoints reseal`, which are one command: the same keys seal both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operations.errors import OperationError
from operations.output import CommandError, Json, operator, show, with_database
from operations.sealed import SealedTable
from projections.endpoints import ENDPOINTS
from projections.partner_store import PARTNERS
from runtime.seals import Seals
from runtime.settings import environment
from schemas.partners import PartnerSettings

if TYPE_CHECKING:
    from psycopg import AsyncConnection


def reseal(as_json: Json = False) -> None:
    """Seal the secrets of all partners and endpoints under the newest key of SECRET_KEYS, so that an older one can be dropped."""
    seals = Seals(PartnerSettings.load(environment()).secret_keys)

    async def work(connection: AsyncConnection) -> tuple[list[str], list[str]]:
        resealed: list[str] = []
        failed: list[str] = []
        for table in (SealedTable(PARTNERS, seals), SealedTable(ENDPOINTS, seals)):
            await _reseal_table(connection, table, resealed, failed)
        return resealed, failed

    resealed, failed = with_database(work)
    data = {"key": seals.newest, "resealed": resealed, "failed": failed}
    show(data, f"{len(resealed)} partners and endpoints are resealed under the key {seals.newest}", as_json=as_json)
    if failed:
        raise CommandError("seal_unreadable: " + "; ".join(failed))


async def _reseal_table(
    connection: AsyncConnection, table: SealedTable[Any, Any], resealed: list[str], failed: list[str]
) -> None:
    from gateway.audit_log import note_command

    for row in await table.rows.read_all(connection):
        try:
            async with connection.transaction():
                if await table.reseal(connection, row.id, operator()):
                    resealed.append(row.id)
                    await note_command(connection, f"tallyhook {table.rows.table} reseal {row.id}", operator())
        except OperationError as error:
            failed.append(f"{row.id}: {error}")
