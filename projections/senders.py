"""The senders of webhooks beside the plain paths: the partners, and the endpoints of providers."""

from typing import NamedTuple

from psycopg import AsyncConnection

from projections.endpoints import Endpoints
from projections.roster import Roster
from runtime.seals import Seals
from schemas.partners import PartnerSettings


class Senders(NamedTuple):
    """Both as a process holds them in memory; they may change between two reads."""

    partners: Roster
    endpoints: Endpoints

    @classmethod
    def of(cls, settings: PartnerSettings) -> "Senders":
        """Return the senders of these settings; those of the tables have yet to be read."""
        return cls(Roster.of(settings), Endpoints(Seals(settings.secret_keys)))

    @property
    def version(self) -> tuple[int, int]:
        """Differs after any change."""
        return self.partners.version, self.endpoints.version

    def follow(self, newest: PartnerSettings) -> None:
        """Use the partners and the keys of these settings from now on; the tables are read again."""
        self.partners.follow(newest)
        self.endpoints.follow(newest)

    async def refresh(self, connection: AsyncConnection) -> None:
        """Read the tables, if anything in them has changed."""
        await self.partners.refresh(connection)
        await self.endpoints.refresh(connection)

    async def read(self) -> None:
        """Return once both tables have been read."""
        await self.partners.read.wait()
        await self.endpoints.read.wait()
