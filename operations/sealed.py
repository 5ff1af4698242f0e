"""The rules that all tables with sealed secrets share: versions, seals and their keys."""

from datetime import UTC, datetime
from typing import Final, Generic, NamedTuple

from psycopg import AsyncConnection

from operations.errors import OperationError, Reason
from projections.sealed_rows import Row, SealedRows, Terms, Vault
from runtime.seals import SealError, Seals

SECRETS_MAX: Final = 10
"""Secrets of one kind that a row may have."""


class NewState(NamedTuple, Generic[Terms, Vault]):
    """The state of a row after a change, and who made it."""

    key: str
    terms: Terms
    vault: Vault
    by: str


class SealedTable(NamedTuple, Generic[Terms, Vault]):
    """The rows of a table, read and written under these seals; every failure raises OperationError."""

    rows: SealedRows[Terms, Vault]
    seals: Seals

    async def existing(self, connection: AsyncConnection, key: str) -> Row[Terms]:
        """Read a row that must exist, to change it."""
        row = await self.rows.read_for_update(connection, key)
        if row is None:
            raise OperationError(Reason.NOT_FOUND, f"there is no {self.rows.noun} {key}")
        return row

    def open(self, row: Row[Terms]) -> Vault:
        """Open the secrets of a row."""
        try:
            return self.rows.open(row, self.seals)
        except SealError as error:
            raise OperationError(Reason(error.reason), f"the secrets of {row.id} cannot be opened: {error}") from error

    async def write(self, connection: AsyncConnection, row: Row[Terms] | None, after: NewState[Terms, Vault]) -> Row[Terms]:
        """Write a row with the next version."""
        try:
            sealed = self.rows.seal(after.vault, after.key, self.seals)
        except SealError as error:
            raise OperationError(Reason(error.reason), str(error)) from error
        now, version = datetime.now(UTC), row.version + 1 if row else 1
        written = Row(after.key, after.terms, sealed, version, row.created_at if row else now, now, after.by)
        await self.rows.write(connection, written)
        return written

    async def reseal(self, connection: AsyncConnection, key: str, by: str) -> bool:
        """Seal the secrets of a row under the newest key; returns False if they already are."""
        row = await self.existing(connection, key)
        if row.sealed.key_id == self.seals.newest:
            return False
        await self.write(connection, row, NewState(key, row.terms, self.open(row), by))
        return True


def check_version(row: Row[Terms] | None, expected: int | None) -> None:
    """Refuse the change if the row's version is not the expected one."""
    current = row.version if row else 0
    if expected is not None and expected != current:
        raise OperationError(Reason.VERSION_STALE, f"the current version is {current}")
