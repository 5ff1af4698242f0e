"""The rows of a sealed table as a process has them in memory, with their secrets."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic

import structlog
from prometheus_client import Gauge
from psycopg import AsyncConnection

from projections.sealed_rows import Row, SealedRows, Terms, Vault
from runtime.redaction import hide_stored_secrets
from runtime.seals import SealError, Seals

if TYPE_CHECKING:
    from datetime import datetime

log = structlog.get_logger()

SecretsOf = Callable[[Vault], tuple[list[str], list[str]]]
"""The secrets in a vault, and the addresses: no log line shows them."""


class SealedView(Generic[Terms, Vault]):
    """
    The rows as they were when they were last read, and the vaults of those that can be opened.

    A row that cannot be opened any more keeps the vault that it had, since one process may lack a key for a while.
    """

    def __init__(self, table: SealedRows[Terms, Vault], seals: Seals, secrets_of: SecretsOf[Vault], unreadable: Gauge) -> None:
        self._table = table
        self._seals = seals
        self._secrets_of = secrets_of
        self._gauge = unreadable
        self._seen: dict[str, tuple[int, datetime]] = {}
        self._unreadable: set[str] = set()
        self._is_stale = True
        self.rows: list[Row[Terms]] = []
        self.vaults: dict[str, Vault] = {}
        self.read = asyncio.Event()
        """Set by the owner once it has taken the first rows over."""

    def is_uncertain(self, key: str) -> bool:
        """Return true if this process may lack the row's current secrets."""
        return not self.read.is_set() or key in self._unreadable

    def follow(self, seals: Seals) -> None:
        """Use these keys from now on; the table is read again."""
        self._seals = seals
        self._is_stale = True

    async def refresh(self, connection: AsyncConnection) -> bool:
        """Read the table if anything in it has changed; returns true if it was read."""
        seen = await self._table.versions(connection)
        if seen == self._seen and not self._is_stale:
            return False
        self._is_stale = False
        rows = await self._table.read_all(connection)
        opened = {row.id: vault for row in rows if (vault := self._open(row)) is not None}
        self._unreadable = {row.id for row in rows} - opened.keys()
        self._gauge.set(len(self._unreadable))
        self._learn([*self.vaults.values(), *opened.values()])
        self.vaults = {row.id: vault for row in rows if (vault := opened.get(row.id) or self.vaults.get(row.id))}
        self.rows, self._seen = rows, seen
        return True

    def _open(self, row: Row[Terms]) -> Vault | None:
        try:
            return self._table.open(row, self._seals)
        except SealError as error:
            noun = self._table.noun
            event = noun + "_unreadable"
            log.error(event, reason=error.reason, version=row.version, **{noun: row.id})  # noqa: TRY400  # a seal has no trace to show
            return None

    def _learn(self, vaults: list[Vault]) -> None:
        """Keep these secrets out of log lines; former ones may still be in use somewhere."""
        found = [self._secrets_of(vault) for vault in vaults]
        secrets = {secret for secrets, _ in found for secret in secrets}  # most are in a vault of before and in that of now
        hide_stored_secrets(self._table.table, secrets, {address for _, addresses in found for address in addresses})
