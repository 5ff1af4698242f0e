"""The relay on a real Postgres and a real Kafka: nothing is lost, nothing overtakes within an aggregate."""

from __future__ import annotations

import random
import re
import threading
from collections import defaultdict
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from outbox import acknowledged, held, metrics, relay_session, relay_store
from outbox.append import APPEND, columns_of
from outbox.publisher import Publisher
from outbox.relay import Relay
from outbox.settings import RelaySettings
from outbox.shards import SHARDS
from runtime.heartbeat import now
from runtime.ids import id_at, new_id
from runtime.process import Stop
from runtime.tracing import new_trace
from schemas.envelope import Event
from schemas.topology import Agent
from tests.kafka import Stored, fresh_name, make_topic, read_topic, recreate_topic, settings_of
from tests.waiting import LIMIT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from runtime.kafka import Cluster


def event(topic: str, key: str = "pi_1", **changes: object) -> Event:
    fields: dict[str, object] = {
        "id": new_id(),
        "topic": topic,
        "aggregate_type": "payment",
        "aggregate_id": key,
        "source": "/webhooks/stripe",
        "type": "com.stripe.payment_intent.succeeded",
        "dataschema": "urn:tallyhook:com.stripe.event:1",
        "occurred_at": datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC),
        "traceparent": new_trace().traceparent,
        "data": b'{"id":"evt_1"}',
    }
    return Event(**(fields | changes))


def write(url: str, *events: Event) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(APPEND, columns_of(events))


@contextmanager
def running_relay(url: str, kafka: Cluster, **changes: object) -> Iterator[Relay]:
    settings = RelaySettings.load(
        {"DATABASE_URL": url, **settings_of(kafka), "RELAY_REBALANCE": "100ms"}
        | {name.upper(): str(value) for name, value in changes.items()}
    )
    stop, publisher = Stop(), Publisher(kafka)
    relay = Relay(settings, publisher, stop)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        yield relay
    finally:
        stop.request()
        thread.join(LIMIT)
        publisher.close()
        stop.close()
        assert not thread.is_alive()


def at_least(number: int) -> object:
    return lambda found: len(found) >= number


def pending(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        return relay_store.depth(connection).pending


def test_a_record_is_the_event_byte_for_byte_with_the_headers_of_the_contract(database_url: str, kafka: Cluster) -> None:
    topic = make_topic(kafka)
    cause = new_id()
    sent = event(topic, "pi_é", data=b'{"odd":  "\xc3\xa9\\u0000"}\n', causation_id=cause, endpoint="eu")
    write(database_url, sent)
    with running_relay(database_url, kafka):
        [record] = read_topic(kafka, topic, until=at_least(1))
        wait_until(lambda: pending(database_url) == 0)
    assert record.value == sent.data
    assert record.key == "pi_é"
    assert record.headers == {
        "ce_id": str(sent.id),
        "ce_source": "/webhooks/stripe",
        "ce_type": "com.stripe.payment_intent.succeeded",
        "ce_subject": "pi_é",
        "ce_time": "2026-11-24T12:00:00Z",
        "ce_specversion": "1.0",
        "ce_dataschema": "urn:tallyhook:com.stripe.event:1",
        "content-type": "application/json",
        "traceparent": sent.traceparent,
        "ce_causationid": str(cause),
        "ce_endpoint": "eu",
    }


def test_nothing_lingers_while_the_relay_waits_for_it(kafka: Cluster) -> None:
    topic, publisher = make_topic(kafka), Publisher(kafka)
    publisher._config["linger.ms"] = 6000  # longer than the time after which the relay takes unacknowledged rows back
    publisher.renew()
    try:
        for _ in range(2):
            batch = publisher.send([relay_store.PendingRow(1, event(topic, "pi_1"))], lambda: None)
            assert publisher.settle(batch, lambda: True)
            assert not batch.refused
    finally:
        publisher.close()


def test_a_read_ends_at_its_limit_of_bytes_and_a_larger_row_comes_alone(database_url: str) -> None:
    sizes = [400, 300, 301, 300_000, 250_000, 10]  # Postgres stores large values outside the row
    write(database_url, *(event("any", data=random.randbytes(size)) for size in sizes))
    reads: list[list[int]] = []
    under_way: list[int] = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        while rows := relay_store.read_pending(connection, range(SHARDS), under_way, relay_store.Room(rows=5, size=1000)).rows:
            reads.append([len(row.event.data) for row in rows])
            under_way += [row.id for row in rows]
    assert reads == [[400, 300], [301], [300_000], [250_000], [10]]


def test_a_read_opens_those_days_only_that_have_some_of_its_events(database_url: str) -> None:
    days = [datetime.now(UTC) - timedelta(days=days) for days in (2, 0)]
    both = [event("any", id=id_at(day)) for day in days]
    write(database_url, *both)
    shards, room = range(SHARDS), relay_store.Room(rows=5, size=100_000)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set plan_cache_mode = force_generic_plan")
        found = [row.event.id for row in relay_store.read_pending(connection, shards, [], room).rows]
        assert found == [each.id for each in both]

        def opened(first: UUID, last: UUID) -> set[str]:
            values = ("{1}", f"{{{first}}}", "{null}", str(first), str(last), 1)
            lines = [line for (line,) in connection.execute(f"explain {relay_store._READ}", values, prepare=True)]
            return {word for line in lines for word in line.split() if re.fullmatch(r"outbox_\d{8}", word)}

        assert opened(both[1].id, both[1].id) == {f"outbox_{days[1]:%Y%m%d}"}
        assert len(opened(both[0].id, both[1].id)) == 3


def test_large_events_go_out_in_order_however_few_fit_into_a_batch(database_url: str, kafka: Cluster) -> None:
    topic = make_topic(kafka)
    sent = [event(topic, data=random.randbytes(random.choice([100, 2000, 100_000]))) for _ in range(60)]
    write(database_url, *sent)
    with running_relay(database_url, kafka, relay_batch_bytes=4000):
        found = read_topic(kafka, topic, until=at_least(60))
        wait_until(lambda: pending(database_url) == 0)
    assert [record.value for record in found] == [each.data for each in sent]


def test_a_transaction_that_commits_late_is_still_relayed(database_url: str, kafka: Cluster) -> None:
    topic = make_topic(kafka)
    early, late = event(topic, "pi_1"), event(topic, "pi_2")
    with running_relay(database_url, kafka), psycopg.connect(database_url) as slow:
        slow.execute(APPEND, columns_of([early]))  # gets the lower id, and does not commit yet
        write(database_url, late)
        [first] = read_topic(kafka, topic, until=at_least(1))
        assert first.headers["ce_id"] == str(late.id)
        slow.commit()
        found = read_topic(kafka, topic, until=at_least(2))
    assert {record.headers["ce_id"] for record in found} == {str(early.id), str(late.id)}


def test_after_a_lost_notification_the_relay_polls(database_url: str, kafka: Cluster) -> None:
    topic = make_topic(kafka)
    with running_relay(database_url, kafka, relay_poll="200ms"), psycopg.connect(database_url) as quiet:
        quiet.execute(APPEND.replace("select pg_notify('outbox', '')", "select 1"), columns_of([event(topic)]))
        quiet.commit()
        assert len(read_topic(kafka, topic, until=at_least(1))) == 1


def test_a_backlog_that_takes_too_long_to_count_is_sent_all_the_same(
    database_url: str, kafka: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(connection: psycopg.Connection) -> relay_store.Depth:
        counts.append(now())
        with connection.transaction():
            connection.execute("set local statement_timeout = '100ms'")
            connection.execute("select pg_sleep(10)")
        raise AssertionError("the count was not cancelled")

    counts: list[float] = []
    monkeypatch.setattr(relay_store, "depth", count)
    monkeypatch.setattr(relay_session, "_MEASURE_EVERY", 0.0)
    topic = make_topic(kafka)
    with running_relay(database_url, kafka):
        write(database_url, *[event(topic) for _ in range(3)])
        assert len(read_topic(kafka, topic, until=at_least(3))) == 3
        wait_until(lambda: len(counts) >= 2)
    assert counts[1] - counts[0] >= 20 * 0.1  # each count leaves time for the rows


def test_events_wait_in_order_while_kafka_does_not_know_their_topic(
    database_url: str, kafka: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "UNKNOWN_MAX", 1000.0)
    monkeypatch.setattr(held, "RETRY", 0.1)
    unknown = metrics.RESENT.labels("topic_unknown")
    topic, other, before = fresh_name(), make_topic(kafka), unknown._value.get()
    sent = [event(topic, data=b"%d" % number) for number in range(20)]
    write(database_url, *sent[:10], event(other), *sent[10:])
    with running_relay(database_url, kafka, relay_batch=3):
        assert len(read_topic(kafka, other, until=at_least(1))) == 1
        wait_until(lambda: unknown._value.get() >= before + 2)
        make_topic(kafka, topic)
        wait_until(lambda: pending(database_url) == 0)
    assert [record.value for record in read_topic(kafka, topic, until=at_least(20))] == [each.data for each in sent]
    with psycopg.connect(database_url) as connection:
        assert relay_store.parked(connection) == []


def test_a_log_that_comes_back_without_its_end_is_a_loss_for_each_of_its_workers(
    database_url: str, kafka: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two checks of the ends; its events are searched once more when the log has grown past its former end."""
    monkeypatch.setattr(held, "UNKNOWN_MAX", 1000.0)
    monkeypatch.setattr(held, "RETRY", 0.1)
    topic = make_topic(kafka, partitions=1)
    readers = [Agent(name, name, "worker", consumes=(topic,)) for name in ("payments", "leads")]
    monkeypatch.setattr(acknowledged, "workers", lambda: [*readers, Agent("search", "search", "worker", consumes=("other",))])

    def ranges() -> list[tuple[str, int, int]]:
        with psycopg.connect(database_url) as connection:
            query = "select consumer, from_offset, until_offset from lost_ranges where topic = %s order by consumer"
            return connection.execute(query, (topic,)).fetchall()

    with running_relay(database_url, kafka):
        write(database_url, *(event(topic) for _ in range(3)))
        read_topic(kafka, topic, until=at_least(3))
        recreate_topic(kafka, topic, 1)
        write(database_url, event(topic))
        wait_until(lambda: ranges() == [("leads", 0, 3), ("payments", 0, 3)])
        write(database_url, *(event(topic) for _ in range(3)))
        wait_until(lambda: ranges() == [("leads", 0, 4), ("payments", 0, 4)])
        write(database_url, event(topic))
        read_topic(kafka, topic, until=at_least(5))
    assert len(ranges()) == 2


def test_an_event_that_kafka_refuses_for_good_is_parked_with_reason_and_alert_and_the_others_go_on(
    database_url: str, kafka: Cluster
) -> None:
    topic = make_topic(kafka, **{"max.message.bytes": "2000"})
    large = event(topic, data=random.Random(1).randbytes(5000))
    huge = event(topic, data=bytes(2_000_000))
    lost = event("no-such-topic")
    fine = [event(topic, f"pi_{n}") for n in range(20)]
    write(database_url, large, *fine[:10], huge, lost, *fine[10:])
    with running_relay(database_url, kafka):
        found = read_topic(kafka, topic, until=at_least(20))
        with psycopg.connect(database_url, autocommit=True) as connection:

            def parked() -> dict[UUID, str | None]:
                """Return the test's parked rows; alerts are parked as well if no test has made their topic."""
                wanted = {large.id, huge.id, lost.id}
                return {row.event_id: row.reason for row in relay_store.parked(connection) if row.event_id in wanted}

            wait_until(lambda: len(parked()) == 3)
            reasons = parked()
            alerts = connection.execute("select causation_id, data from outbox where topic = 'alert.events'").fetchall()
    assert {record.headers["ce_id"] for record in found} == {str(e.id) for e in fine}
    assert reasons == {large.id: "record_too_large", huge.id: "record_too_large", lost.id: "topic_unknown"}
    assert {row[0] for row in alerts} == {large.id, huge.id, lost.id}
    assert all(b"runbooks/outbox-backlog.md" in row[1] for row in alerts)


def test_events_after_a_refused_one_do_not_wait(database_url: str, kafka: Cluster) -> None:
    """The refusal of a record ends the session of the producer."""

    def resent() -> float:
        return sum(sample.value for family in metrics.RESENT.collect() for sample in family.samples if "_total" in sample.name)

    topic = make_topic(kafka, **{"max.message.bytes": "2000"})
    with running_relay(database_url, kafka), psycopg.connect(database_url, autocommit=True) as connection:
        before = resent()
        write(database_url, event(topic, data=random.randbytes(5000)))
        wait_until(lambda: any(row.reason == "record_too_large" for row in relay_store.parked(connection)))
        write(database_url, event(topic, data=b"fine"))
        assert [record.value for record in read_topic(kafka, topic, until=at_least(1))] == [b"fine"]
    assert resent() == before


def test_a_relay_whose_clock_is_hours_ahead_continues_and_ignores_its_own_time(
    database_url: str, kafka: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=2)
    monkeypatch.setattr("outbox.publisher._OUR_TIME", int(ahead.timestamp() * 1000))
    refused = metrics.RESENT.labels("invalid_timestamp")
    before = refused._value.get()
    topic = make_topic(kafka)  # keeps the producers' timestamps, the broker's default, and refuses one that is an hour ahead
    sent = [event(topic) for _ in range(5)]
    write(database_url, *sent)
    with running_relay(database_url, kafka):
        found = read_topic(kafka, topic, until=at_least(5))
        wait_until(lambda: pending(database_url) == 0)
    assert [record.headers["ce_id"] for record in found] == [str(each.id) for each in sent]
    assert refused._value.get() > before, "the broker has refused no time, so that nothing was tested"


def test_an_alert_that_cannot_go_out_raises_no_other(database_url: str, kafka: Cluster) -> None:
    write(database_url, event("alert.events", data=b"x" * 3_000_000))
    with running_relay(database_url, kafka), psycopg.connect(database_url, autocommit=True) as connection:
        wait_until(lambda: relay_store.parked(connection))
        assert connection.execute("select count(*) from outbox").fetchone() == (1,)


def test_an_unparked_event_goes_out(database_url: str, kafka: Cluster) -> None:
    topic = make_topic(kafka)
    row = event(topic)
    write(database_url, row)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update outbox_pending set parked_at = now(), reason = 'topic_unknown'")
        [parked] = relay_store.parked(connection)
        with running_relay(database_url, kafka):
            assert relay_store.unpark(connection, [parked.id, 999]) == [parked.id]
            assert len(read_topic(kafka, topic, until=at_least(1))) == 1


def test_relays_share_the_shards_and_take_over_those_of_one_that_ends(database_url: str, kafka: Cluster) -> None:
    with running_relay(database_url, kafka) as first:
        wait_until(lambda: first.readiness() == {"shards": SHARDS})
        with running_relay(database_url, kafka) as second, running_relay(database_url, kafka) as third:
            relays = (first, second, third)
            wait_until(lambda: sum((r.readiness() or {"shards": 0})["shards"] for r in relays) == SHARDS)
            wait_until(lambda: all(20 <= (r.readiness() or {"shards": 0})["shards"] <= 22 for r in relays))
        wait_until(lambda: first.readiness() == {"shards": SHARDS})


@pytest.mark.timeout(120)
def test_two_relays_never_reorder_an_aggregate_while_one_comes_and_goes(database_url: str, kafka: Cluster) -> None:
    """Writers take versions under the aggregate's row lock; relays are cut off from Postgres and come back all the while."""
    topic = make_topic(kafka, partitions=6)
    aggregates, writers, each = 20, 3, 400
    with psycopg.connect(database_url) as connection:
        connection.execute("create table aggregate (id text primary key, version int not null)")
        connection.execute("insert into aggregate select 'a' || n, 0 from generate_series(0, %s) n", (aggregates - 1,))

    def work(seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(database_url) as mine:
            for _ in range(each):
                key = f"a{chance.randrange(aggregates)}"
                [version] = mine.execute(
                    "update aggregate set version = version + 1 where id = %s returning version", (key,)
                ).fetchone()
                mine.execute(APPEND, columns_of([event(topic, key, aggregate_version=version, data=str(version).encode())]))
                mine.commit()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(writers)]
    with running_relay(database_url, kafka, relay_batch=50), running_relay(database_url, kafka, relay_batch=7):
        for thread in threads:
            thread.start()
        cut = 0
        while any(thread.is_alive() for thread in threads):
            cut += _cut_off_one_relay(database_url)
            threads[0].join(0.3)
        found = read_topic(
            kafka, topic, until=lambda records: len({r.headers["ce_id"] for r in records}) >= writers * each, seconds=60
        )
    assert cut > 0
    assert_first_appearances_in_order(found)


def _cut_off_one_relay(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            """select pg_terminate_backend(pid) from pg_stat_activity
               where application_name = 'tallyhook relay' and datname = current_database() order by random() limit 1"""
        ).fetchone()
    return 1 if row else 0


def assert_first_appearances_in_order(found: list[Stored]) -> None:
    """Repeats are allowed (v1 v2 v1 v2); a version that appears for the first time after a later one is not."""
    seen: dict[str, list[int]] = defaultdict(list)
    for record in sorted(found, key=lambda r: (r.partition, r.offset)):
        version = int(record.value)
        if version not in seen[record.key]:
            seen[record.key].append(version)
    for key, versions in seen.items():
        assert versions == list(range(1, len(versions) + 1)), key


def test_a_database_that_takes_no_writes_is_waited_for_and_nothing_is_sent_again_and_again(
    database_url: str, kafka: Cluster
) -> None:
    topic, name = make_topic(kafka), sql.Identifier(database_url.rpartition("/")[2])
    write(database_url, event(topic, "pi_1"))
    before = metrics.RECONNECTS._value.get()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("alter database {} set default_transaction_read_only = on").format(name))
        with running_relay(database_url, kafka) as relay:
            wait_until(lambda: metrics.RECONNECTS._value.get() >= before + 3)
            assert relay.readiness() is None
            connection.execute(sql.SQL("alter database {} set default_transaction_read_only = off").format(name))
            wait_until(lambda: pending(database_url) == 0)
    assert len(read_topic(kafka, topic, until=at_least(1))) == 1
