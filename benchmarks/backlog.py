"""Writes rows of 1 KB into an outbox: a whole backlog at once, or single transactions on a fixed time grid."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import psycopg

from outbox.append import shard_of
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event
from schemas.stripe import DATASCHEMA
from schemas.topics import Topic

if TYPE_CHECKING:
    from psycopg import Connection

TOPIC: Final = Topic.WEBHOOKS_STRIPE
SIZE: Final = 1024
KEYS: Final = 5000

# The data starts with the row's number, which the check of the order reads. The text does not repeat, so it does not compress.
_FILL: Final = """
insert into outbox (id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data)
select uuidv7(), %(topic)s, 'payment', 'pi_' || lpad((n %% %(keys)s)::text, 24, '0'), '/webhooks/stripe',
       'com.stripe.payment_intent.succeeded', %(dataschema)s, now(),
       '00-' || md5(n::text) || '-' || left(md5(n::text), 16) || '-01',
       convert_to(rpad('{"number":' || lpad(n::text, 12, '0') || ',"pad":"' || (
         select string_agg(md5(n::text || k), '') from generate_series(1, 31) k), %(size)s - 2, 'x') || '"}', 'UTF8')
from generate_series(1, %(rows)s) n
"""
_LIST: Final = """
insert into outbox_pending (event_id, shard) select id, crc32(convert_to(aggregate_id, 'UTF8')) % 64 from outbox order by id
"""
# Only columns that every release has: the relay of another release may be measured, on its own schema.
_COLUMNS: Final = "id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data"
_APPEND: Final = f"""
with logged as (
  insert into outbox ({_COLUMNS})
  values (%(id)s, %(topic)s, %(aggregate_type)s, %(aggregate_id)s, %(source)s, %(type)s, %(dataschema)s, %(occurred_at)s,
    %(traceparent)s, %(data)s)),
listed as (insert into outbox_pending (event_id, shard) values (%(id)s, %(shard)s))
select pg_notify('outbox', '')
"""


class Committed(NamedTuple):
    """The time at which the commit of each event returned, by event id, and the longest delay of the writer after its grid."""

    at: dict[str, float]
    late: float


def fill(connection: Connection, rows: int) -> None:
    """Write the whole backlog in one transaction; number and id rise together, so the order of ids is the order within a key."""
    with connection.transaction():
        values = {"topic": TOPIC, "keys": KEYS, "dataschema": DATASCHEMA, "size": SIZE, "rows": rows}
        connection.execute(_FILL, values)
        connection.execute(_LIST)
    # Autovacuum does this within a minute: otherwise the first reader of a row would set its hint bits, a page of WAL each.
    connection.execute("vacuum (analyze) outbox, outbox_pending")
    connection.execute("checkpoint")


def read(connection: Connection) -> list[Event]:
    """Read the whole backlog, in the order of its ids."""
    rows = connection.execute(f"select {_COLUMNS} from outbox order by id").fetchall()
    return [Event(**dict(zip(_COLUMNS.split(", "), row, strict=True))) for row in rows]


def number_in(value: bytes) -> int:
    """Return the row's number, from the start of its data."""
    return int(value[10:22])


def write_paced(url: str, rate: float, seconds: float, start_at: float) -> Committed:
    """Write single-row transactions on a fixed time grid (open loop), with one connection."""
    at: dict[str, float] = {}
    late = 0.0
    pad = "x" * (SIZE - 33)
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(int(rate * seconds)):
            event = _event(f"pi_{number % KEYS:024d}", f'{{"number":{number:012d},"pad":"{pad}"}}'.encode())
            if (pause := start_at + number / rate - time.monotonic()) > 0:
                time.sleep(pause)
            late = max(late, -pause)
            values = {"shard": shard_of(event.aggregate_id), **msgspec.structs.asdict(event)}
            connection.execute(_APPEND, values, prepare=True)
            at[str(event.id)] = time.monotonic()
    return Committed(at, late)


def _event(key: str, data: bytes) -> Event:
    return Event(
        id=new_id(),
        topic=TOPIC,
        aggregate_type="payment",
        aggregate_id=key,
        source="/webhooks/stripe",
        type="com.stripe.payment_intent.succeeded",
        dataschema=DATASCHEMA,
        occurred_at=datetime.now(UTC),
        traceparent=new_trace().traceparent,
        data=data,
    )
