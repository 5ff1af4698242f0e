"""The endpoints of providers in the table, as a process holds them in memory, updated with changes."""

from collections.abc import AsyncIterator, ItemsView, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import msgspec
from prometheus_client import Gauge
from psycopg import AsyncConnection
from typing_extensions import override

from projections.sealed_rows import Row, SealedRows, StoredSecret
from projections.sealed_view import SealedView
from runtime.following import Followed, following
from runtime.seals import Seals
from runtime.settings import Secret
from schemas.endpoints import Label
from schemas.partners import PartnerSettings
from schemas.providers import ModeOrAny


class Terms(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An endpoint without its secrets."""

    label: Label | None = None
    """A description in your words, such as `Stripe, EU account`."""
    mode: ModeOrAny | None = None
    """
    The events that go to the workers, `live`, `test` or `any`; those of the other mode are stored and ignored. Absent for the
    mode of the provider's plain path. An event that states no mode is of the mode of its endpoint.
    """


class Vault(msgspec.Struct, frozen=True, omit_defaults=True):
    """The secrets of an endpoint, newest first."""

    signing: tuple[StoredSecret, ...] = ()


class Endpoint(NamedTuple):
    """One endpoint, with the secrets by which a gateway verifies its webhooks."""

    provider: str
    id: str
    terms: Terms
    secrets: tuple[Secret, ...]


ENDPOINTS: Final = SealedRows("endpoints", "endpoint", Terms, Vault)
EndpointRow = Row[Terms]

UNREADABLE: Final = Gauge(
    "tallyhook_endpoints_unreadable", "Endpoints that this process cannot verify by, since it cannot open their secrets."
)


class Endpoints(Followed, Mapping[str, Endpoint]):
    """The endpoints by their places, `stripe/eu`; they may change between two reads, and `version` grows with each change."""

    def __init__(self, seals: Seals) -> None:
        super().__init__()
        self._view = SealedView(ENDPOINTS, seals, _secrets_of, UNREADABLE)
        self._all: Mapping[str, Endpoint] = {}
        self.version = 0
        self.read = self._view.read
        """Set once the table has been read: before that an endpoint that is not here may exist."""

    def __getitem__(self, place: str) -> Endpoint:
        return self._all[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @override
    def items(self) -> ItemsView[str, Endpoint]:
        return self._all.items()  # of one moment: a thread may read them while the table is read again

    def is_uncertain(self, place: str) -> bool:
        """Return true if this process may lack the endpoint's current secrets: a signature that fails may be right."""
        return self._view.is_uncertain(place)

    def follow(self, newest: PartnerSettings) -> None:
        """Use the keys of these settings from now on; the table is read again."""
        self._view.follow(Seals(newest.secret_keys))
        self.read_again()

    @override
    async def refresh(self, connection: AsyncConnection) -> None:
        """Read the table, if anything in it has changed."""
        if await self._view.refresh(connection):
            self._all = {row.id: _endpoint(row, self._view.vaults.get(row.id, Vault())) for row in self._view.rows}
            self.version += 1
            self.read.set()


def _endpoint(row: EndpointRow, vault: Vault) -> Endpoint:
    provider, _, name = row.id.partition("/")
    return Endpoint(provider, name, row.terms, tuple(kept.secret for kept in vault.signing))


def _secrets_of(vault: Vault) -> tuple[list[str], list[str]]:
    return [kept.value for kept in vault.signing], []


@asynccontextmanager
async def followed(endpoints: Endpoints, database_url: str) -> AsyncIterator[None]:
    """Update these endpoints with changes of the table within two seconds; does not wait for the first read."""
    async with following(database_url, ENDPOINTS.table, endpoints, wait=False):
        yield
