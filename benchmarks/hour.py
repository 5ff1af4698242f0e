"""The webhooks of an hour, written to Postgres as the gateway would write them; and new ones that come in over HTTP."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks import load
from benchmarks.bodies import STRIPE_IDS, make_bodies, user_of, write_requests
from benchmarks.figures import expect
from schemas.stripe import DATASCHEMA, TYPE_PREFIX
from schemas.topics import Topic

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from psycopg import Connection

WEBHOOK: Final = f"{TYPE_PREFIX}payment_intent.succeeded"
RATE: Final = 200.0  # events a second
_STEP: Final = 20_000  # rows of one transaction
_CONNECTIONS: Final = 16
_WAVE: Final = 2.0  # seconds of new events that are signed together
_AHEAD: Final = 1.0  # seconds before its first event is due, in which a wave is signed and connects
_WAVES: Final = 64  # at most at the same time, if answers are missing

# Rows of the four tables, as `outbox.append.record` writes them. The ids are from the hour before the fill, as of real calls.
_FILL: Final = """
with v as materialized (
  select n, pg_temp.stripe_token(at, %(account)s::text, n) as token, uuidv7(at - clock_timestamp()) as id,
         '00-' || md5(n::text) || '-' || left(md5(n::text), 16) || '-01' as traceparent
  from (select n, %(end)s::timestamptz - make_interval(secs => (%(rows)s::int8 - n) / %(rate)s::float8) as at
    from generate_series(%(first)s::int8, %(last)s::int8) n) t),
remembered as (
  insert into dedup (source, provider_event_id, event_id) select 'stripe', 'evt_' || token, id from v),
logged as (
  insert into outbox (id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data,
                      livemode)
  select id, %(topic)s, 'payment', 'pi_' || token, '/webhooks/stripe', %(type)s, %(dataschema)s, %(end)s, traceparent,
         convert_to(replace(replace(%(body)s::text, %(token)s::text, token), %(user)s::text, 'user_' || reverse(token)), 'UTF8'),
         false from v),
noted as (
  insert into webhook_deliveries (id, source, provider_event_id, type, outcome, event_id, trace_id, livemode)
  select id, 'stripe', 'evt_' || token, 'payment_intent.succeeded', 'accepted', id, substr(traceparent, 4, 32), false from v),
listed as (
  insert into outbox_pending (event_id, shard)
  select id, crc32(convert_to('pi_' || token, 'UTF8')) %% 64 from v order by n)
select 'pi_' || token from v order by n
"""


class Answered(NamedTuple):
    """The answer to one call: its time in Unix seconds, and its latency."""

    at: float
    latency: float


def fill(connection: Connection, rows: int, report: Callable[[int], None]) -> list[str]:
    """Write `rows` webhooks of distinct payments; returns the payments, in the order of arrival."""
    [body] = make_bodies(1)
    payments: list[str] = []
    connection.execute("set synchronous_commit = off")
    connection.execute(STRIPE_IDS.encode())
    [end] = connection.execute("select now()").fetchone() or [None]
    values: dict[str, object] = {"account": secrets.token_hex(5), "end": end, "rows": rows, "rate": RATE}
    values |= {"body": body.data.decode(), "token": body.token, "user": user_of(body.payment)}
    values |= {"topic": Topic.WEBHOOKS_STRIPE, "type": WEBHOOK, "dataschema": DATASCHEMA}
    for first in range(1, rows + 1, _STEP):
        last = min(first + _STEP - 1, rows)
        payments += [row[0] for row in connection.execute(_FILL, {**values, "first": first, "last": last})]
        report(last)
    # Autovacuum does this within the hour.
    connection.execute("vacuum (analyze) outbox, outbox_pending, dedup, webhook_deliveries")
    connection.execute("checkpoint")
    return payments


def send_until(stop: Path, address: tuple[str, int], secret: str) -> dict[str, Answered]:
    """
    Send new events on one fixed time grid until the file `stop` exists; returns the answers by payment.

    A wave is sent at its time, even while answers of earlier waves are missing, and is signed while those are in flight.
    """
    start_at = time.monotonic() + _AHEAD
    with ThreadPoolExecutor(_WAVES) as pool:
        waves: list[Future[dict[str, Answered]]] = []
        while not waves or not stop.exists():
            requests = stop.with_name(f"requests-{len(waves)}")
            waves.append(pool.submit(_send_wave, requests, address, secret, start_at + len(waves) * _WAVE))
            time.sleep(max(0.0, start_at + len(waves) * _WAVE - _AHEAD - time.monotonic()))
            for wave in waves:
                if wave.done():
                    wave.result()  # raises if the wave failed
    return {payment: answered for wave in waves for payment, answered in wave.result().items()}


def _send_wave(requests: Path, address: tuple[str, int], secret: str, start_at: float) -> dict[str, Answered]:
    """Send one wave; each latency is counted from the time at which its event was due."""
    clock = time.time() - time.monotonic()
    payments = write_requests(requests, int(RATE * _WAVE), secret, f"{address[0]}:{address[1]}")
    answers = load.send(load.Plan(requests, address, _CONNECTIONS, rate=RATE, start_at=start_at))
    requests.unlink()
    expect("new events acknowledged", answers.acknowledged, len(payments))
    due = (start_at + number / RATE for number in range(len(payments)))
    return {
        payment: Answered(clock + at, at - since) for payment, at, since in zip(payments, answers.answered_at, due, strict=True)
    }
