"""The tables of a source, made in a schema of their own by the worker's own code, and brought up to date again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import UUID

from psycopg import Connection, sql

from ops.offset_replay import log
from ops.offset_replay.declared import is_there
from ops.offset_replay.log import Stretch
from ops.rebuild.erased import take_contacts_out
from outbox.marker import is_marker
from outbox.offsets import Offsets
from runtime.database import Pool, make_pool
from schemas.envelope import Envelope, to_headers
from streams.errors import Poison
from streams.processor import Processor
from streams.records import Record, decode

if TYPE_CHECKING:
    from ops.rebuild.sources import Events, Source
    from streams.settings import StreamSettings

_PAGE: Final = 500
_LANES: Final = 4
_OF_THE_LOG: Final = -1  # the number of a partition, for records that come from the log and not from Kafka

Progress = Callable[[int, int], object]
"""Told how many events are handled, and how many are wanted."""

_WANTED: Final = """
create unlogged table {shadow}.wanted (event_id uuid primary key, rank int2 not null, done bool not null default false)
"""
_WANT: Final = "insert into {shadow}.wanted (event_id, rank) select * from ({wanted}) w(event_id, rank) on conflict do nothing"
_PAGE_OF: Final = """
select w.rank, o.topic, o.id, o.aggregate_id, o.source, o.type, o.dataschema, o.occurred_at, o.traceparent, o.causation_id,
       o.data, o.livemode, o.account
from {shadow}.wanted w join public.outbox o on o.id = w.event_id
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
    One source in its schema, between `async with`.

    `from_log` and `from_kafka` count the events that were handled; of those that are `gone` neither has a copy that may be used.
    """

    def __init__(self, connection: Connection, settings: StreamSettings, schema: str, source: Source, progress: Progress) -> None:
        self._connection = connection
        self._settings = settings
        self._schema = schema
        self._source = source
        self._progress = progress
        self.from_log = self.from_kafka = 0
        self._kafka_read = False
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
            self._processor = Processor(self._source.events.handler, pool, lanes=_LANES, retry_max=retry)
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def catch_up(self) -> int:
        """Handle every event that has had its effects by now and was not handled here; how many those were."""
        for statement in self._source.seed:
            self._run(statement, live=self._live())
        if self._source.events is None:
            return 0
        self._run(_WANT, wanted=self._source.events.wanted)
        self._run("analyze {shadow}.wanted")
        before = self.from_log + self.from_kafka
        if not self._kafka_read:
            self._kafka_read = True
            await self._read_kafka(self._source.events)
        await self._read_log()
        return self.from_log + self.from_kafka - before

    @property
    def gone(self) -> int:
        """Events that were wanted and that neither the log nor Kafka has."""
        if self._source.events is None:
            return 0
        done, wanted = self._counts()
        return wanted - done

    def set_aside(self) -> dict[str, int]:
        """The events that could not be handled here, by reason."""
        query = "select reason, count(*) from {shadow}.dead_letters group by reason order by reason"
        return dict(self._rows(query)) if self._source.events is not None else {}

    async def _read_log(self) -> None:
        after: tuple[int, UUID] = (-1, UUID(int=0))
        while page := self._rows(_PAGE_OF, *after, _PAGE, marker=is_marker("o.data")):
            after = page[-1][0], page[-1][2]
            records = [_record(self.from_log + n, row) for n, row in enumerate(page)]
            await self._handle(records, [row[2] for row in page])
            self.from_log += len(page)
            self._progress(*self._counts())

    async def _read_kafka(self, events: Events) -> None:
        """What the log no longer has, and where it may be handled what was erased from it; it is older, so it comes first."""
        gone = {row[0] for row in self._rows(_GONE, marker=is_marker("o.data"), erased_too=events.erased_too)}
        if not gone:
            return
        servers = self._settings.kafka_bootstrap_servers
        spans = await asyncio.to_thread(Offsets(servers).spans, events.topics)
        batches = log.read(servers, {place: Stretch(span.begin, span.end) for place, span in spans.items()})
        while batch := await asyncio.to_thread(next, batches, list[Record]()):
            found = [(record, event_id) for record in batch if (event_id := _id_of(record)) in gone]
            gone -= {event_id for _, event_id in found}
            await self._handle([record for record, _ in found], [event_id for _, event_id in found if event_id])
            self.from_kafka += len(found)
            self._progress(*self._counts())
        if events.erased_too:
            take_contacts_out(self._connection, self._schema)

    async def _handle(self, records: Sequence[Record], ids: Sequence[UUID]) -> None:
        if records and self._processor is not None:
            await self._processor.process(records)
            self._connection.execute(self._sql(_DONE), (list(ids),))

    def _counts(self) -> tuple[int, int]:
        [(done, wanted)] = self._rows(_COUNT)
        return done, wanted

    def _live(self) -> sql.Composable:
        table = self._source.parts[0].name
        if is_there(self._connection, table):
            return sql.Identifier("public", table)
        return sql.SQL("(select * from {} where false)").format(sql.Identifier(self._schema, table))

    def _rows(self, query: str, *values: object, **words: object) -> list[Any]:
        return self._connection.execute(self._sql(query, **words), values or None).fetchall()

    def _run(self, statement: str, **words: object) -> None:
        self._connection.execute(self._sql(statement, **words))

    def _sql(self, statement: str, **words: object) -> sql.Composed:
        parts = {name: word if isinstance(word, sql.Composable) else sql.SQL(str(word)) for name, word in words.items()}
        return sql.SQL(statement).format(shadow=sql.Identifier(self._schema), **parts)


def _record(number: int, row: Sequence[Any]) -> Record:
    """An event of the log as the record that Kafka had of it."""
    _, topic, event_id, key, source, kind, dataschema, time, traceparent, causation_id, data, livemode, account = row
    event = Envelope(
        id=event_id, source=source, type=kind, subject=key, time=time, dataschema=dataschema, traceparent=traceparent,
        causation_id=causation_id, data=bytes(data), livemode=livemode, account=account,
    )  # fmt: skip
    headers = [(name, value.encode() if isinstance(value, str) else value) for name, value in to_headers(event)]
    return Record(topic, _OF_THE_LOG, number, key.encode(), event.data, headers)


def _id_of(record: Record) -> UUID | None:
    try:
        return decode(record).id
    except Poison:
        return None
