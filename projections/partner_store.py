"""The partners of the table: their terms as they are, and everything that is secret of them sealed in one piece."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from projections.config_keys import ATTEMPTS_MAX
from runtime.rates import RATE_PATTERN, rate_of
from runtime.seals import Sealed, Seals
from runtime.settings import Secret
from schemas.partners import Partner

CHANGED_CHANNEL: Final = "partners"
"""The payload of NOTIFY is the id: a hint to the processes that follow, which then read the table."""
SecretKind = Literal["signing", "token", "crm"]

_CONCURRENCY_MAX: Final = 1000
_TIMEOUT_MAX: Final = 3600


class Terms(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The terms that are agreed with a partner, without its secrets."""

    concurrency: Annotated[int, Meta(ge=1, le=_CONCURRENCY_MAX)] | None = None
    """Attempts to its CRM under way at once; absent for `LEAD_PARTNER_CONCURRENCY`."""
    max_attempts: Annotated[int, Meta(ge=1, le=ATTEMPTS_MAX)] | None = None
    """Attempts to deliver a lead before it is given up; absent for the number of the runtime configuration or the settings."""
    timeout_seconds: Annotated[float, Meta(ge=0.001, le=_TIMEOUT_MAX)] | None = None
    """Seconds that its CRM may take for one attempt; absent for `LEAD_TIMEOUT`."""
    rate: Annotated[str, Meta(pattern=RATE_PATTERN)] | None = None
    """The rate at which it may send leads, such as `200/second` or `off`; absent for the rate of all partners."""
    paused: bool = False
    """True holds its leads back; this uses up no attempt."""


class Kept(msgspec.Struct, frozen=True):
    """One secret, and when it was added."""

    value: str
    since: datetime

    @property
    def secret(self) -> Secret:
        return Secret(self.value)


class Vault(msgspec.Struct, frozen=True, omit_defaults=True):
    """The secrets of a partner, each kind newest first, with its address and headers, which may hold some too."""

    signing: tuple[Kept, ...] = ()
    token: tuple[Kept, ...] = ()
    crm: tuple[Kept, ...] = ()
    crm_url: str | None = None
    crm_headers: Mapping[str, str] = msgspec.field(default_factory=dict)

    def of(self, kind: SecretKind) -> tuple[Kept, ...]:
        """Return the secrets of a kind, newest first."""
        found: tuple[Kept, ...] = getattr(self, kind)
        return found


class PartnerRow(NamedTuple):
    """One row of the table."""

    id: str
    terms: Terms
    sealed: Sealed
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str

    def vault(self, seals: Seals) -> Vault:
        """Open what is secret. Raises SealError."""
        return msgspec.json.decode(seals.open(self.sealed, _owner(self.id)), type=Vault)

    def partner(self, vault: Vault) -> Partner:
        """The partner as processes use it; what is in the table was checked when it was written."""
        terms = self.terms
        return Partner.model_construct(
            secret=tuple(kept.secret for kept in vault.signing),
            token=tuple(kept.secret for kept in vault.token),
            crm_url=vault.crm_url,
            crm_secret=tuple(kept.secret for kept in vault.crm),
            crm_headers=vault.crm_headers,
            concurrency=terms.concurrency,
            max_attempts=terms.max_attempts,
            timeout=timedelta(seconds=terms.timeout_seconds) if terms.timeout_seconds else None,
            rate=rate_of(terms.rate) if terms.rate else "default",
            paused=terms.paused,
        )


def _owner(partner: str) -> str:
    return f"partner {partner}"


def seal(vault: Vault, partner: str, seals: Seals) -> Sealed:
    """Seal what is secret of this partner. Raises SealError `seal_keys_missing`."""
    return seals.seal(msgspec.json.encode(vault), _owner(partner))


class _Read(NamedTuple):
    id: str
    terms: str
    sealed: bytes
    key_id: str
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str

    @property
    def row(self) -> PartnerRow:
        terms = msgspec.json.decode(self.terms, type=Terms)
        times = self.created_at, self.updated_at
        return PartnerRow(self.id, terms, Sealed(self.key_id, bytes(self.sealed)), self.version, *times, self.updated_by)


_COLUMNS: Final = "id, terms::text as terms, sealed, key_id, version, created_at, updated_at, updated_by"
_WRITE: Final = """
insert into partners (id, terms, sealed, key_id, version, created_at, updated_at, updated_by)
values (%(id)s, %(terms)s, %(sealed)s, %(key)s, %(version)s, %(created_at)s, %(updated_at)s, %(updated_by)s)
on conflict (id) do update set terms = excluded.terms, sealed = excluded.sealed, key_id = excluded.key_id,
  version = excluded.version, updated_at = excluded.updated_at, updated_by = excluded.updated_by
"""
# The first row of a partner has no row to lock yet.
_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('partner ' || %s, 0))"


async def versions(connection: AsyncConnection) -> dict[str, tuple[int, datetime]]:
    """Read the version of each partner and the time of its last change: one of them differs after any change."""
    found = await (await connection.execute("select id, version, updated_at from partners", prepare=True)).fetchall()
    return {key: (version, at) for key, version, at in found}


async def read_all(connection: AsyncConnection) -> list[PartnerRow]:
    """Read every partner, in the order of their ids."""
    async with connection.cursor(row_factory=class_row(_Read)) as cursor:
        found = await (await cursor.execute(f"select {_COLUMNS} from partners order by id".encode())).fetchall()
    return [each.row for each in found]


async def read(connection: AsyncConnection, partner: str) -> PartnerRow | None:
    """Read one partner by its id."""
    async with connection.cursor(row_factory=class_row(_Read)) as cursor:
        found = await (await cursor.execute(f"select {_COLUMNS} from partners where id = %s".encode(), (partner,))).fetchone()
    return found.row if found else None


async def read_to_change(connection: AsyncConnection, partner: str) -> PartnerRow | None:
    """Read one partner in the open transaction, at whose end others may change it."""
    await connection.execute(_LOCK, (partner,))
    return await read(connection, partner)


async def write(connection: AsyncConnection, row: PartnerRow) -> None:
    """Write the partner's new state in the open transaction, and have every process read it."""
    values = row._asdict() | {"terms": Jsonb(msgspec.to_builtins(row.terms)), "sealed": row.sealed.data, "key": row.sealed.key_id}
    await connection.execute(_WRITE, values)
    await _notify(connection, row.id)


async def remove(connection: AsyncConnection, partner: str) -> None:
    """Remove the partner in the open transaction, and have every process read it."""
    await connection.execute("delete from partners where id = %s", (partner,))
    await _notify(connection, partner)


async def _notify(connection: AsyncConnection, partner: str) -> None:
    await connection.execute("select pg_notify(%s, %s)", (CHANGED_CHANNEL, partner))
