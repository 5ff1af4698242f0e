"""The partners as a process sees them: those of its environment, and those of the table, kept up with changes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import Gauge
from psycopg import AsyncConnection

from projections import partner_store
from projections.partner_store import CHANGED_CHANNEL, PartnerRow, Vault
from runtime.following import following
from runtime.redaction import learn_stored
from runtime.seals import SealError, Seals
from schemas.partners import Partner, PartnerSettings

if TYPE_CHECKING:
    from datetime import datetime

log = structlog.get_logger()

UNREADABLE: Final = Gauge(
    "tallyhook_partners_unreadable", "Partners of the database that this process cannot use, since it cannot open their secrets."
)


class Roster(Mapping[str, Partner]):
    """
    The partners by the `{ID}` of their variables; it changes between two looks at it.

    A partner of the environment stands before one of the table, which the API refuses to add. `version` grows with each change.
    """

    def __init__(self, environment: Mapping[str, Partner], seals: Seals) -> None:
        self._environment = environment
        self._seals = seals
        self._stored: dict[str, Partner] = {}
        self._vaults: dict[str, Vault] = {}
        self._seen: dict[str, tuple[int, datetime]] = {}
        self._all: Mapping[str, Partner] = {**environment}
        self._unreadable: set[str] = set()
        self.version = 0
        self._is_stale = True
        self._lock = threading.Lock()
        self.read = asyncio.Event()
        """Set once the table has been read: before that a partner that is not here may exist."""

    @classmethod
    def of(cls, settings: PartnerSettings) -> "Roster":
        """The partners of these settings, with those of the table to be read."""
        return cls(settings.partners, Seals(settings.secret_keys))

    def __getitem__(self, key: str) -> Partner:
        return self._all[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def is_uncertain(self, key: str) -> bool:
        """Report whether this process cannot know the secrets of the partner now: a wrong signature may be a right one."""
        return key not in self._environment and (not self.read.is_set() or key in self._unreadable)

    def follow(self, newest: PartnerSettings) -> None:
        """Let the partners and the keys of these settings be those of now; the table is read again."""
        self._environment, self._seals = newest.partners, Seals(newest.secret_keys)
        self._is_stale = True
        self._merge()

    async def refresh(self, connection: AsyncConnection) -> None:
        """Read the table, if anything in it has changed."""
        seen = await partner_store.versions(connection)
        if seen == self._seen and not self._is_stale:
            return
        self._is_stale = False
        rows = await partner_store.read_all(connection)
        vaults = {row.id: vault for row in rows if (vault := self._open(row)) is not None}
        self._unreadable = {row.id for row in rows} - vaults.keys()
        UNREADABLE.set(len(self._unreadable))
        learn_stored(*_secrets_of([*self._vaults.values(), *vaults.values()]))
        self._vaults = {row.id: vault for row in rows if (vault := vaults.get(row.id) or self._vaults.get(row.id))}
        self._stored = {row.id: row.partner(self._vaults[row.id]) if row.id in self._vaults else _HELD for row in rows}
        self._seen = seen
        self._merge()
        self.read.set()

    def _open(self, row: PartnerRow) -> Vault | None:
        """Open the secrets of a partner; without them the last known ones go on, since one process may lack a key."""
        try:
            return row.vault(self._seals)
        except SealError as error:
            log.error("partner_unreadable", reason=error.reason, partner=row.id, version=row.version)  # noqa: TRY400  # a seal has no trace to show
            return None

    def _merge(self) -> None:
        with self._lock:  # settings are followed in a thread of their own
            self._all = {**self._stored, **self._environment}
            self.version += 1
        for key in sorted(self._stored.keys() & self._environment.keys()):
            log.warning("partner_ignored", reason="partner_in_environment", partner=key)


_HELD: Final = Partner(paused=True)
"""In place of a partner whose secrets cannot be opened: its leads wait, and none is given up."""


def _secrets_of(vaults: Collection[Vault]) -> tuple[list[str], list[str]]:
    """The secrets of all these, and their addresses."""
    secrets = [kept.value for vault in vaults for kept in (*vault.signing, *vault.token, *vault.crm)]
    secrets += [value for vault in vaults for value in vault.crm_headers.values()]
    return secrets, [vault.crm_url for vault in vaults if vault.crm_url]


@asynccontextmanager
async def followed(roster: Roster, database_url: str, *, wait: bool = True) -> AsyncIterator[None]:
    """
    Keep these partners up with changes of the table within two seconds.

    With `wait` the table is read before this returns, where Postgres lets it.
    """
    async with following(database_url, CHANGED_CHANNEL, roster.refresh, wait=wait):
        yield
