"""
The uses of each of our secrets: how often it proves a caller, over all processes, and whether it is safe to drop.

Uses are counted in memory, and every few seconds added to slots of five minutes in one statement. So a process that is killed
loses the uses of some seconds, and a time of use is accurate to some seconds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

import msgspec
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

from gateway.settings import GatewaySettings
from gateway.write_behind import WriteBehind
from outbox.secret_changes import SecretChange
from projections.senders import Senders
from runtime.database import Pool
from runtime.settings import Secret
from schemas.providers import providers

KEPT: Final = timedelta(days=30)
"""The time for which uses are kept; longer than any overlap of two secrets."""
_SLOT: Final = timedelta(minutes=5)
_EVERY: Final = timedelta(seconds=3)


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """The uses of one secret; `last_hour` covers the last 60 to 65 minutes."""

    setting: str
    secret_id: str
    first_used_at: datetime
    last_used_at: datetime
    last_hour: int


class SecretUses:
    """
    Counts uses without waiting, and writes them in the background.

    `settings` returns the settings that hold a secret, by its public id.
    """

    def __init__(self, url: str, settings: Callable[[str], tuple[str, ...]], *, every: timedelta = _EVERY) -> None:
        self._settings = settings
        self._counts: Counter[tuple[str, str]] = Counter()
        self._held: dict[str, tuple[str, ...]] = {}
        self._buffer = WriteBehind(url, self._flush, name="secret_uses", every=every, waiting=self._counts.total)

    async def open(self) -> None:
        await self._buffer.open()

    async def close(self) -> None:
        """Write the rest as far as Postgres allows, and disconnect."""
        await self._buffer.close()

    def count(self, secret_id: str) -> None:
        """Count a use of a secret under each of the settings that hold it."""
        settings = self._held.get(secret_id)
        if settings is None:  # looked up once between two writes: a lookup costs more than the count
            settings = self._held[secret_id] = self._settings(secret_id)
            self._buffer.wake()
        for setting in settings:
            self._counts[setting, secret_id] += 1

    async def flush(self) -> None:
        """Write what has been counted so far."""
        await self._buffer.flush()

    async def _flush(self, pool: Pool) -> None:
        counts = dict(self._counts)
        self._counts.clear()
        self._held.clear()
        if not counts:
            return
        try:
            async with pool.connection() as connection:
                await add(connection, counts, datetime.now(UTC))
        except Exception:
            self._counts.update(counts)
            raise


# In one order, so that two gateways do not deadlock.
_ADD: Final = """
insert into secret_uses as u (setting, secret_id, slot, uses, first_used_at, last_used_at)
select setting, secret_id, date_bin(%(slot)s, %(now)s, 'epoch'), uses, %(now)s, %(now)s
from unnest(%(settings)s::text[], %(ids)s::text[], %(uses)s::int8[]) as t(setting, secret_id, uses) order by setting, secret_id
on conflict (setting, secret_id, slot) do update set uses = u.uses + excluded.uses,
  first_used_at = least(u.first_used_at, excluded.first_used_at), last_used_at = greatest(u.last_used_at, excluded.last_used_at)
"""
_READ: Final = """
select setting, secret_id, min(first_used_at) as first_used_at, max(last_used_at) as last_used_at,
       coalesce(sum(uses) filter (where slot > %(now)s - interval '1 hour' - %(slot)s), 0)::int8 as last_hour
from secret_uses group by 1, 2 order by 1, 2
"""


async def add(connection: AsyncConnection, counts: dict[tuple[str, str], int], now: datetime) -> None:
    """Add uses, by setting and public id, to the slot of that time."""
    settings, ids = [setting for setting, _ in counts], [secret_id for _, secret_id in counts]
    values = {"slot": _SLOT, "now": now, "settings": settings, "ids": ids, "uses": list(counts.values())}
    await connection.execute(_ADD, values)


async def read(connection: AsyncConnection, now: datetime) -> list[Use]:
    """Every secret that was used within the kept period."""
    async with connection.cursor(row_factory=class_row(Use)) as cursor:
        return await (await cursor.execute(_READ, {"now": now, "slot": _SLOT})).fetchall()


def forget_uses(connection: Connection, now: datetime) -> int:
    """Delete expired slots; returns their number."""
    return connection.execute("delete from secret_uses where slot < %s", (now - KEPT,)).rowcount


Purpose = Literal["verifies", "signs"]

# Services and partners do not report that they have changed their secret: one that calls once a week must have called since.
_CALLERS: Final = timedelta(days=7)

RULE: Final = (
    "An older secret is safe to drop once the newest one of its setting is in use and the older one has not been used for a full "
    "overlap since then (24 hours for providers, which send old events again under the old secret; 7 days for tokens and "
    "partners). The only secret of a setting is never safe to drop, and neither is one that signs what we send: only its "
    "receiver knows whether it is still needed."
)


class LiveSecret(NamedTuple):
    """A configured secret; `position` is 0 for the newest of its setting, which has `number` secrets."""

    setting: str
    secret: Secret
    position: int
    number: int
    overlap: timedelta
    purpose: Purpose = "verifies"


class SecretState(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The use of one secret; the secret itself is never returned."""

    id: str  #: The secret's public id: the first 8 hex digits of its SHA-256.
    setting: str  #: The setting that holds the secret.
    configured: bool  #: False if only another gateway has it, or had it lately.
    safe_to_drop: bool  #: True if the secret can be removed from its setting.
    why: str  #: Why `safeToDrop` has its value, in words.
    purpose: Purpose = msgspec.field(default="verifies", name="purpose")  #: `verifies` incoming calls, or `signs` outgoing ones.
    position: Literal["newest", "older"] | None = None
    """Its place among the secrets of the setting; absent if it is not configured."""
    first_used_at: datetime | None = None  #: When it was first used, accurate to seconds.
    last_used_at: datetime | None = None  #: When it was last used, accurate to seconds.
    uses_last_hour: int | None = None  #: Uses within the last hour, accurate to five minutes; absent if it signs.
    safe_from: datetime | None = None  #: When it becomes safe to drop if it stays unused.


class Secrets(msgspec.Struct, frozen=True):
    """Every secret of this gateway, and those that were used lately."""

    items: list[SecretState]  #: The secrets by setting, newest first, then those that are no longer configured.
    changes: list[SecretChange]  #: The latest changes of files with secrets in any process, newest first.
    rule: str = msgspec.field(default=RULE)  #: The rule that `safeToDrop` follows.


class Holders:
    """The settings that hold each verifying secret now, by the public id of the secret."""

    def __init__(self, settings: GatewaySettings, senders: Senders) -> None:
        self._settings = settings
        self._senders = senders
        self._read()

    def of(self, secret_id: str) -> tuple[str, ...]:
        """The settings that hold the secret; empty for one that has just been dropped."""
        if self._seen != (self._settings.newest, self._senders.version):
            self._read()
        return self._holders.get(secret_id, ())

    def _read(self) -> None:
        self._seen = newest, _ = self._settings.newest, self._senders.version
        self._holders = verifying_settings(live_secrets(newest, self._senders))


def setting_of(place: str) -> str:
    """The name under which the secrets of an endpoint are listed."""
    return f"endpoint {place}"


def live_secrets(settings: GatewaySettings, senders: Senders) -> list[LiveSecret]:
    """
    All live secrets, setting by setting, newest first.

    A partner in the database has the setting names of one in the environment, an endpoint has that of `setting_of`.
    """
    overlaps: dict[str, timedelta] = {provider.name: provider.secret.overlap for provider in providers()}
    return [
        *(live for provider in providers()
            for live in _of(provider.secret_setting, settings.webhook_secrets(provider), provider.secret.overlap)),
        *(live for place, endpoint in sorted(senders.endpoints.items())
            for live in _of(setting_of(place), endpoint.secrets, overlaps.get(endpoint.provider, _CALLERS))),
        *_of("INTERNAL_API_TOKEN", settings.internal_api_token, _CALLERS),
        *_of("ADMIN_API_TOKEN", settings.admin_api_token, _CALLERS),
        *_of("READ_API_TOKEN", settings.read_api_token, _CALLERS),
        *(live for key, partner in sorted(senders.partners.items()) for live in (
            *_of(f"PARTNER_{key}_SECRET", partner.secret, _CALLERS),
            *_of(f"PARTNER_{key}_TOKEN", partner.token, _CALLERS),
            *_of(f"PARTNER_{key}_CRM_SECRET", partner.crm_secret, _CALLERS, "signs"),
        )),
    ]  # fmt: skip


def verifying_settings(live: Iterable[LiveSecret]) -> dict[str, tuple[str, ...]]:
    """The settings that hold each verifying secret, by its public id."""
    found: dict[str, tuple[str, ...]] = {}
    for each in live:
        if each.purpose == "verifies":
            found[each.secret.id] = (*found.get(each.secret.id, ()), each.setting)
    return found


def states_of(live: Sequence[LiveSecret], uses: Sequence[Use], now: datetime) -> list[SecretState]:
    """The state of each live secret, and of each other one that was used lately."""
    known = {(use.setting, use.secret_id): use for use in uses}
    newest = {each.setting: known.get((each.setting, each.secret.id)) for each in live if each.position == 0}
    mine = {(each.setting, each.secret.id) for each in live}
    return [*(_state(each, known, newest[each.setting], now) for each in live), *_gone(known, mine)]


def _of(setting: str, secrets: Sequence[Secret], overlap: timedelta, purpose: Purpose = "verifies") -> Iterator[LiveSecret]:
    for position, secret in enumerate(secrets):
        yield LiveSecret(setting, secret, position, len(secrets), overlap, purpose)


def _state(each: LiveSecret, known: Mapping[tuple[str, str], Use], newest: Use | None, now: datetime) -> SecretState:
    use = known.get((each.setting, each.secret.id))
    safe, why, since = _judge(each, use, newest, now)
    counted = each.purpose == "verifies"
    return SecretState(
        id=each.secret.id,
        setting=each.setting,
        configured=True,
        safe_to_drop=safe,
        why=why,
        purpose=each.purpose,
        position="older" if each.position else "newest",
        first_used_at=use.first_used_at if use else None,
        last_used_at=use.last_used_at if use else None,
        uses_last_hour=(use.last_hour if use else 0) if counted else None,
        safe_from=since,
    )


def _judge(each: LiveSecret, use: Use | None, newest: Use | None, now: datetime) -> tuple[bool, str, datetime | None]:
    if each.number == 1:
        return False, "it is the only one of its setting", None
    if each.position == 0:
        return False, "it is the newest one of its setting", None
    if each.purpose == "signs":
        return False, "it signs what we send: ask the partner whether its CRM has the newest one", None
    if newest is None:
        return False, "the newest one of its setting has not been used yet", None
    quiet_since = max(newest.first_used_at, use.last_used_at) if use else newest.first_used_at
    safe_from = quiet_since + each.overlap
    if now < safe_from:
        used_since = use is not None and quiet_since == use.last_used_at
        why = "it was used within the overlap" if used_since else "the newest one is in use for less than the overlap"
        return False, why, safe_from
    return True, "the newest one is in use, and this one was not for a full overlap", None


def _gone(known: Mapping[tuple[str, str], Use], mine: set[tuple[str, str]]) -> Iterator[SecretState]:
    for place, use in known.items():
        if place not in mine:
            yield SecretState(
                id=use.secret_id,
                setting=use.setting,
                configured=False,
                safe_to_drop=False,
                why="this gateway does not have it: it was dropped, or another gateway still has it",
                first_used_at=use.first_used_at,
                last_used_at=use.last_used_at,
                uses_last_hour=use.last_hour,
            )
