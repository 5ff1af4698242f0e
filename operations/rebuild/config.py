"""Rebuild the runtime configuration: each event is a complete change, and the history table is a second log."""

from collections.abc import Sequence
from typing import Final

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from operations.rebuild.sources import Events, Part, Source
from projections.config_tables import config, config_history
from schemas.envelope import Event
from schemas.operations import ConfigChanged
from schemas.topics import Topic
from streams.records import data_of

_WANTED: Final = "select id, 0 from public.outbox where topic = 'config.events' and id >= {since}"
_KEEP: Final = """
insert into config_history (key, version, value, id, changed_at, changed_by) values (%s, %s, %s, %s, %s, %s)
on conflict do nothing
"""
_SEED: Final = "insert into {shadow}.config_history select * from {live_config_history} on conflict do nothing"
_CLEAR: Final = "truncate {shadow}.config"
_CURRENT: Final = """
insert into {shadow}.config (key, value, version, updated_at)
select distinct on (key) key, value, version, changed_at from {shadow}.config_history order by key, version desc
"""
_VERDICT: Final = """
case when l.key is null then 'missing' when s.key is null or l.version > s.version then 'kept'
  when l.version < s.version then 'behind' else 'different' end
"""
_OF_HISTORY: Final = "case when l.key is null then 'missing' when s.key is null then 'kept' else 'different' end"
# Versions are counted from 1 without gaps: a version that neither the history nor the log has is lost.
_UNSEEN: Final = """
select 'lost', key, version from (
  select key, generate_series(1, max(version)) as version from {shadow}.config_history group by key) every
where not exists (select from {shadow}.config_history s where (s.key, s.version) = (every.key, every.version))
"""


class ConfigHandler:
    """Writes changes into the history of the schema, as a `streams.role.Handler`."""

    consumer: Final = "config"

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        changes = [(event, data_of(event, ConfigChanged)) for event in events]
        rows = [
            (each.key, each.version, Jsonb(each.value), event.id, event.occurred_at, each.changed_by) for event, each in changes
        ]
        await connection.cursor().executemany(_KEEP, rows)


def source() -> Source:
    return Source(
        name="config",
        tables=["config", "config_history"],
        parts=[Part(config, _VERDICT), Part(config_history, _OF_HISTORY, unseen=_UNSEEN)],
        locks=["config", "config_history"],
        events=Events(ConfigHandler(), _WANTED, (Topic.CONFIG,)),
        seed=[_SEED],
        finish=[_CLEAR, _CURRENT],
        exclusive=True,
    )
