"""Build the tables of a source in a separate schema with the worker's own code, and keep them up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import UUID

from psycopg import Connection, sql
from psycopg.rows import dict_row

from operations.erasure.erase import without_contact
from operations.offset_replay import log
from operations.offset_replay.log import OffsetRange
from operations.rebuild.compare import live_table
from outbox.erased import is_marker
from outbox.offsets import Offsets
from runtime.database import Pool, make_pool
from runtime.ids import first_id_of
from schemas.envelope import Event, to_headers
from streams.processor import Postponed, Processor
from streams.records import Record, id_of

if TYPE_CHECKING:
    from operations.rebuild.sources import Events, Source
    from streams.settings import StreamSettings

_PAGE: Final = 500
_LANES: Final = 4
_OVERLAP: Final = timedelta(minutes=10)  # the sum of the clock difference and the length of a transaction that are allowed for
_ATTRIBUTES: Final = frozenset(Event.__struct_fields__)
_OF_THE_LOG: Final = -1  # the partition number of records that are from the log and not from Kafka

Progress = Callable[[int, int], object]
"""Called with the number of handled events and the number of wanted ones."""

_WANTED: Final = """
create unlogged table {shadow}.wanted (event_id uuid primary key, rank int2 not null, done bool not null default false)
"""
_WANT: Final = "insert into {shadow}.wanted (event_id, rank) select * from ({wanted}) w(event_id, rank) on conflict do nothing"
_PAGE_OF: Final = """
select w.rank, o.* from {shadow}.wanted w join public.outbox o on o.id = w.event_id
where not w.done and (w.rank, w.event_id) > (%s, %s) and not {marker} order by w.rank, w.event_id limit %s
"""
_GONE: Final = """
select event_id from {shadow}.wanted w where not done
  and not exists (select from public.outbox o where o.id = w.event_id and ({erased_too} is false or not {marker}))
"""
_DONE: Final = "update {shadow}.wanted set done = true where event_id = any(%s)"
_COUNT: Final = "select count(*) filter (where done), count(*) from {shadow}.wanted"


class Builder:
    """
    Builds one source in its schema, inside `async with`.

    `from_log` and `from_kafka` count the handled events. `gone` events have a usable copy in neither of them.
    """

    def __init__(
        self,
        connection: Connection,
        settings: StreamSettings,
        schema: str,
        source: Source,
        progress: Progress,
        *,
        postponed: Postponed,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._schema = schema
        self._source = source
        self._progress = progress
        self._postponed = postponed
        self.from_log = self.from_kafka = 0
        self._kafka_read = False
        self._began = datetime.now(UTC)
        self._since = UUID(int=0)
        self._processor: Processor | None = None
        self._pool: Pool | None = None

    async def __aenter__(self) -> Self:
        if self._source.events is not None:
            self._run(_WANTED)
            path = f"{self._schema}, pg_catalog"
            lease = self._settings.lock_lease
            pool = make_pool(self._settings.database_url, size=_LANES + 1, name="rebuild", lease=lease, search_path=path)
            self._pool = pool
            await pool.open()
            retry = self._settings.streams_retry_max
            handler, postponed = self._source.events.handler, self._postponed
            self._processor = Processor(handler, pool, lanes=_LANES, retry_max=retry, postponed=postponed)
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def catch_up(self) -> int:
        """Handle every event that has had its effects by now and was not handled here yet, and return how many."""
        for statement in self._source.seed:
            self._run(statement, **self._live())
        if self._source.events is None:
            return 0
        self._run(_WANT, wanted=self._sql(self._source.events.wanted, since=sql.Literal(self._since)))
        self._since = first_id_of(self._began - _OVERLAP)
        self._run("analyze {shadow}.wanted")
        before = self.from_log + self.from_kafka
        if not self._kafka_read:
            self._kafka_read = True
            await self._read_kafka(self._source.events)
        await self._read_log()
        for statement in self._source.finish:
            self._run(statement, **self._live())
        return self.from_log + self.from_kafka - before

    @property
    def gone(self) -> int:
        """The number of wanted events that neither the log nor Kafka has."""
        if self._source.events is None:
            return 0
        done, wanted = self._counts()
        return wanted - done

    def set_aside(self) -> dict[str, int]:
        """Return the number of events that could not be handled here, by reason."""
        query = "select reason, count(*) from {shadow}.dead_letters group by reason order by reason"
        return dict(self._rows(query)) if self._source.events is not None else {}

    async def _read_log(self) -> None:
        after: tuple[int, UUID] = (-1, UUID(int=0))
        while page := self._page(after):
            after = page[-1]["rank"], page[-1]["id"]
            for _, rows in groupby(page, key=itemgetter("rank")):  # a batch keeps the order only within one key
                same = list(rows)
                records = [_record(self.from_log + n, row) for n, row in enumerate(same)]
                await self._handle(records, [row["id"] for row in same])
                self.from_log += len(same)
            self._progress(*self._counts())

    def _page(self, after: tuple[int, UUID]) -> list[dict[str, Any]]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(self._sql(_PAGE_OF, marker=is_marker("o.data")), (*after, _PAGE)).fetchall()

    async def _read_kafka(self, events: Events) -> None:
        """Read older events that only Kafka still has, and those that were erased from the log, if the source allows it."""
        gone = {row[0] for row in self._rows(_GONE, marker=is_marker("o.data"), erased_too=events.erased_too)}
        if not gone:
            return
        for topic in events.topics:
            await self._read_topic(topic, gone)
        if events.erased_too:
            remove_contacts(self._connection, self._schema)

    async def _read_topic(self, topic: str, gone: set[UUID | None]) -> None:
        kafka = self._settings.kafka
        spans = await asyncio.to_thread(Offsets(kafka).spans, [topic])
        batches = log.read(kafka, {place: OffsetRange(span.begin, span.end) for place, span in spans.items()})
        while batch := await asyncio.to_thread(next, batches, list[Record]()):
            found = [(record, event_id) for record in batch if (event_id := id_of(record)) in gone]
            gone -= {event_id for _, event_id in found}
            await self._handle([record for record, _ in found], [event_id for _, event_id in found if event_id])
            self.from_kafka += len(found)
            self._progress(*self._counts())

    async def _handle(self, records: Sequence[Record], ids: Sequence[UUID]) -> None:
        if records and self._processor is not None:
            await self._processor.process(records)
            self._connection.execute(self._sql(_DONE), (list(ids),))

    def _counts(self) -> tuple[int, int]:
        [(done, wanted)] = self._rows(_COUNT)
        return done, wanted

    def _live(self) -> dict[str, sql.Composable]:
        """Return the live tables as `live_…`; a missing one counts as empty."""
        return {f"live_{part.name}": live_table(self._connection, self._schema, part.name) for part in self._source.parts}

    def _rows(self, query: str, *values: object, **words: object) -> list[Any]:
        return self._connection.execute(self._sql(query, **words), values or None).fetchall()

    def _run(self, statement: str, **words: object) -> None:
        self._connection.execute(self._sql(statement, **words))

    def _sql(self, statement: str, **words: object) -> sql.Composed:
        parts = {name: word if isinstance(word, sql.Composable) else sql.SQL(str(word)) for name, word in words.items()}
        return sql.SQL(statement).format(shadow=sql.Identifier(self._schema), **parts)


def _record(number: int, row: Mapping[str, Any]) -> Record:
    """Return an event of the log as the record that it was in Kafka."""
    event = Event(**{name: value for name, value in row.items() if name in _ATTRIBUTES})
    headers = [(name, value.encode() if isinstance(value, str) else value) for name, value in to_headers(event)]
    return Record(event.topic, _OF_THE_LOG, number, event.aggregate_id.encode(), event.data, headers)


# Erased subjects stay erased, though Kafka may still hold contents that were removed from the log.
# The contact of a state includes the event that stated it: [[at, rank, event], address].
_ERASED_CONTACTS: Final = """
with erased as (
  select w.event_id from {shadow}.wanted w join public.outbox o on o.id = w.event_id where w.done and {marker})
select s.provider, s.id, s.state from {shadow}.{table} s
where exists (select from {shadow}.history h join erased e on e.event_id = h.event_id
              where h.aggregate_type = {kind} and h.aggregate_id = s.id
                and h.provider_event_id = convert_from(s.state, 'UTF8')::jsonb #>> '{{contact,0,2}}')
"""
_WRITE: Final = "update {shadow}.{table} set state = %s where provider = %s and id = %s"


def remove_contacts(connection: Connection, schema: str) -> None:
    """Remove each contact that an erased event stated from the payments and invoices of the schema, as the erasure did."""
    marker = sql.SQL(is_marker("o.data"))
    for table, kind in (("payments", "payment"), ("invoices", "invoice")):
        words = {"shadow": sql.Identifier(schema), "table": sql.Identifier(table), "kind": sql.Literal(kind), "marker": marker}
        for provider, name, state in connection.execute(sql.SQL(_ERASED_CONTACTS).format(**words)).fetchall():
            connection.execute(sql.SQL(_WRITE).format(**words), (without_contact(state), provider, name))
