"""
Rows that operators add while everything runs: their terms in plain JSON, and all secrets of a row sealed in one value.

Each kind of row has a table of its own, which `projections/sealed_tables.py` declares.
"""

from datetime import datetime
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from runtime.seals import Sealed, Seals
from runtime.settings import Secret

Terms = TypeVar("Terms", bound=msgspec.Struct)
Vault = TypeVar("Vault", bound=msgspec.Struct)


class StoredSecret(msgspec.Struct, frozen=True):
    """One secret, and when it was added."""

    value: str
    since: datetime

    @property
    def secret(self) -> Secret:
        return Secret(self.value)


class Row(NamedTuple, Generic[Terms]):
    """One row of a table."""

    id: str
    terms: Terms
    sealed: Sealed
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str


class _Read(NamedTuple):
    id: str
    terms: str
    sealed: bytes
    key_id: str
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str


_COLUMNS: Final = "id, terms::text as terms, sealed, key_id, version, created_at, updated_at, updated_by"
_WRITE: Final = """
insert into {table} (id, terms, sealed, key_id, version, created_at, updated_at, updated_by)
values (%(id)s, %(terms)s, %(sealed)s, %(key)s, %(version)s, %(created_at)s, %(updated_at)s, %(updated_by)s)
on conflict (id) do update set terms = excluded.terms, sealed = excluded.sealed, key_id = excluded.key_id,
  version = excluded.version, updated_at = excluded.updated_at, updated_by = excluded.updated_by
"""
# The first row of an id has no row to lock yet.
_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended(%s || ' ' || %s, 0))"


class SealedRows(NamedTuple, Generic[Terms, Vault]):
    """
    The rows of one table.

    `noun` names a row in logs and binds its seal to it. Each change notifies the channel that has the table's name
    (`outbox/hints.py`): a hint to the processes that follow, which then read the table.
    """

    table: str
    noun: str
    terms: type[Terms]
    vault: type[Vault]

    def open(self, row: Row[Terms], seals: Seals) -> Vault:
        """Open the secrets of a row. Raises SealError."""
        return msgspec.json.decode(seals.open(row.sealed, self._owner(row.id)), type=self.vault)

    def seal(self, vault: Vault, key: str, seals: Seals) -> Sealed:
        """Seal the secrets of the row with this id. Raises SealError `seal_keys_missing`."""
        return seals.seal(msgspec.json.encode(vault), self._owner(key))

    async def versions(self, connection: AsyncConnection) -> dict[str, tuple[int, datetime]]:
        """Read the version of each row and the time of its last change: one of them differs after any change."""
        query = f"select id, version, updated_at from {self.table}".encode()
        return {key: (version, at) for key, version, at in await (await connection.execute(query, prepare=True)).fetchall()}

    async def read_all(self, connection: AsyncConnection) -> list[Row[Terms]]:
        """Read every row, in the order of their ids."""
        async with connection.cursor(row_factory=class_row(_Read)) as cursor:
            found = await (await cursor.execute(f"select {_COLUMNS} from {self.table} order by id".encode())).fetchall()
        return [self._row(each) for each in found]

    async def read(self, connection: AsyncConnection, key: str) -> Row[Terms] | None:
        """Read one row by its id."""
        async with connection.cursor(row_factory=class_row(_Read)) as cursor:
            found = await (await cursor.execute(f"select {_COLUMNS} from {self.table} where id = %s".encode(), (key,))).fetchone()
        return self._row(found) if found else None

    async def read_for_update(self, connection: AsyncConnection, key: str) -> Row[Terms] | None:
        """Lock the id of a row until the open transaction ends, and read the row."""
        await connection.execute(_LOCK, (self.noun, key))
        return await self.read(connection, key)

    async def write(self, connection: AsyncConnection, row: Row[Terms]) -> None:
        """Write the row's new state in the open transaction."""
        values = row._asdict() | {"terms": Jsonb(msgspec.to_builtins(row.terms)), "sealed": row.sealed.data}
        await connection.execute(_WRITE.format(table=self.table).encode(), values | {"key": row.sealed.key_id})

    async def remove(self, connection: AsyncConnection, key: str) -> None:
        """Remove the row in the open transaction."""
        await connection.execute(f"delete from {self.table} where id = %s".encode(), (key,))

    def _owner(self, key: str) -> str:
        return f"{self.noun} {key}"

    def _row(self, read: _Read) -> Row[Terms]:
        terms = msgspec.json.decode(read.terms, type=self.terms)
        times = read.created_at, read.updated_at
        return Row(read.id, terms, Sealed(read.key_id, bytes(read.sealed)), read.version, *times, read.updated_by)
