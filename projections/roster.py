"""The partners as a process holds them in memory: those of its environment, and those of the table, updated with changes."""

import threading
from collections.abc import AsyncIterator, ItemsView, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog
from prometheus_client import Gauge
from psycopg import AsyncConnection
from typing_extensions import override

from projections.partner_store import PARTNERS, Vault, partner_of
from projections.sealed_view import SealedView
from runtime.following import Followed, following
from runtime.seals import Seals
from schemas.partners import Partner, PartnerSettings

log = structlog.get_logger()

UNREADABLE: Final = Gauge(
    "tallyhook_partners_unreadable", "Partners of the database that this process cannot use, since it cannot open their secrets."
)
_HELD: Final = Partner(paused=True)
"""The stand-in for a partner whose secrets cannot be opened: its leads wait, and none is given up."""


class Roster(Followed, Mapping[str, Partner]):
    """
    The partners by the `{ID}` of their variables; they may change between two reads.

    A partner of the environment overrides one of the table, which the API refuses to add. `version` grows with each change.
    """

    def __init__(self, environment: Mapping[str, Partner], seals: Seals) -> None:
        super().__init__()
        self._environment = environment
        self._view = SealedView(PARTNERS, seals, _secrets_of, UNREADABLE)
        self._stored: dict[str, Partner] = {}
        self._all: Mapping[str, Partner] = {**environment}
        self.version = 0
        self._lock = threading.Lock()
        self.read = self._view.read
        """Set once the table has been read: before that a partner that is not here may exist."""

    @classmethod
    def of(cls, settings: PartnerSettings) -> "Roster":
        """Return the partners of these settings; those of the table have yet to be read."""
        return cls(settings.partners, Seals(settings.secret_keys))

    def __getitem__(self, key: str) -> Partner:
        return self._all[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @override
    def items(self) -> ItemsView[str, Partner]:
        return self._all.items()  # of one moment: a thread may read them while the table is read again

    def is_uncertain(self, key: str) -> bool:
        """Return true if this process may lack the partner's current secrets: a signature that fails may be right."""
        return key not in self._environment and self._view.is_uncertain(key)

    def follow(self, newest: PartnerSettings) -> None:
        """Use the partners and the keys of these settings from now on; the table is read again."""
        self._environment = newest.partners
        self._view.follow(Seals(newest.secret_keys))
        self._merge()
        self.read_again()

    @override
    async def refresh(self, connection: AsyncConnection) -> None:
        """Read the table, if anything in it has changed."""
        if await self._view.refresh(connection):
            vaults = self._view.vaults
            self._stored = {
                row.id: partner_of(row.terms, vaults[row.id]) if row.id in vaults else _HELD for row in self._view.rows
            }
            self._merge()
            self.read.set()

    def _merge(self) -> None:
        with self._lock:  # `follow` is called in another thread
            self._all = {**self._stored, **self._environment}
            self.version += 1
        for key in sorted(self._stored.keys() & self._environment.keys()):
            log.warning("partner_ignored", reason="partner_in_environment", partner=key)


def _secrets_of(vault: Vault) -> tuple[list[str], list[str]]:
    secrets = [kept.value for kept in (*vault.signing, *vault.token, *vault.crm)]
    return [*secrets, *vault.crm_headers.values()], [vault.crm_url] if vault.crm_url else []


@asynccontextmanager
async def followed(roster: Roster, database_url: str, *, wait: bool = True) -> AsyncIterator[None]:
    """
    Update these partners with changes of the table within two seconds.

    With `wait` the table is read before this yields, if Postgres is available.
    """
    async with following(database_url, PARTNERS.table, roster, wait=wait):
        yield
