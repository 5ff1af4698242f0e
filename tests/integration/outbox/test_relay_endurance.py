"""A row that cannot be read, sent or even parked with its alert stops only itself: all others go on, in order."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outbox import publisher as publisher_module
from outbox import refusals, relay_store
from outbox.resend import TYPE as RESENT
from runtime.ids import first_id_of, new_id
from tests.integration.outbox.test_relay import at_least, event, pending, running_relay, write
from tests.kafka import make_topic, read_topic
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from runtime.kafka import Cluster
    from schemas.envelope import Event

UNREADABLE: Final = (
    "infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "4713-01-01 00:00:00+00 BC", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00", "294276-12-31 23:59:59.999999+00",
)  # fmt: skip


def spoil(url: str, event_id: UUID, **columns: Any) -> None:
    """Write a value to a row of the log that none of our code would write."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in columns.items():
            connection.execute(f"update outbox set {name} = %s where id = %s", (value, event_id))


def parked(url: str) -> dict[UUID, str]:
    """Return the parked events with their reasons, without the alerts about them: this Kafka has no topic for those."""
    with psycopg.connect(url, autocommit=True) as connection:
        alert_ids = {row[0] for row in connection.execute("select id from outbox where type = 'alert.raised'")}
        return {row.event_id: row.reason for row in relay_store.parked(connection) if row.event_id not in alert_ids}


def alerts(url: str) -> list[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute("select data from outbox where type = 'alert.raised'").fetchall()
    return [json.loads(row[0])["subject"] for row in rows]


def test_a_row_whose_time_cannot_be_read_is_parked_and_the_others_go_on(database_url: str, kafka: Cluster) -> None:
    """Case 03."""
    topic = make_topic(kafka)
    bad = [event(topic) for _ in UNREADABLE]
    good = [event(topic) for _ in range(5)]
    resent = event(topic, type=RESENT, data=b"no record")
    write(database_url, good[0], *bad[:3], good[1], resent, *bad[3:], *good[2:])
    for each, moment in zip(bad, UNREADABLE, strict=True):
        spoil(database_url, each.id, occurred_at=moment)
    with running_relay(database_url, kafka):
        records = read_topic(kafka, topic, until=at_least(len(good)))
        wait_until(lambda: len(parked(database_url)) == len(bad) + 1)
    assert [record.headers["ce_id"] for record in records] == [str(each.id) for each in good]
    assert parked(database_url) == {each.id: "row_unreadable" for each in (*bad, resent)}
    assert sorted(alerts(database_url)) == sorted(str(each.id) for each in (*bad, resent))


def test_a_row_whose_event_is_gone_is_parked(database_url: str, kafka: Cluster) -> None:
    topic = make_topic(kafka)
    gone, good, far = event(topic), event(topic), UUID(int=(1 << 128) - 1)
    write(database_url, gone, good)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("delete from outbox where id = %s", (gone.id,))
        connection.execute("insert into outbox_pending (event_id, shard) select %s, s from generate_series(0, 3) s", (far,))
    with running_relay(database_url, kafka):
        [record] = read_topic(kafka, topic, until=at_least(1))
        wait_until(lambda: parked(database_url) == {gone.id: "event_missing", far: "event_missing"})
    assert record.headers["ce_id"] == str(good.id)


class Surprise(Exception):
    """An unexpected error."""


def test_an_error_while_making_a_record_parks_its_row(database_url: str, kafka: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = make_topic(kafka)
    bad, good = event(topic), event(topic)
    to_headers = publisher_module.to_headers

    def broken(each: Any) -> Any:
        if each.id == bad.id:
            raise Surprise("\0\udc80" * 2000)
        return to_headers(each)

    monkeypatch.setattr(publisher_module, "to_headers", broken)
    write(database_url, bad, good)
    with running_relay(database_url, kafka):
        [record] = read_topic(kafka, topic, until=at_least(1))
        wait_until(lambda: parked(database_url) == {bad.id: "row_unreadable"})
    assert record.headers["ce_id"] == str(good.id)
    assert alerts(database_url) == [str(bad.id)]


def test_a_row_whose_alert_cannot_be_written_is_parked_without(
    database_url: str, kafka: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = make_topic(kafka)
    bad, good = event(topic), event(topic)
    write(database_url, bad, good)
    spoil(database_url, bad.id, occurred_at="infinity")
    old = first_id_of(datetime(2001, 1, 1, tzinfo=UTC))  # no partition can hold it
    event_of = refusals.event_of

    def misplaced(*given: Any, **named: Any) -> Event:
        made = event_of(*given, **named)
        return type(made)(**{name: getattr(made, name) for name in made.__struct_fields__} | {"id": old})

    monkeypatch.setattr(refusals, "event_of", misplaced)
    with running_relay(database_url, kafka):
        [record] = read_topic(kafka, topic, until=at_least(1))
        wait_until(lambda: parked(database_url) == {bad.id: "row_unreadable"})
    assert record.headers["ce_id"] == str(good.id)
    assert alerts(database_url) == []


def test_a_relay_that_is_surprised_starts_over(database_url: str, kafka: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = make_topic(kafka)
    write(database_url, event(topic))
    monkeypatch.setattr(relay_store, "depth", _once_raising(relay_store.depth))
    monkeypatch.setattr("runtime.failures._FIRST", 0.01)
    with running_relay(database_url, kafka):
        read_topic(kafka, topic, until=at_least(1))
        wait_until(lambda: pending(database_url) == 0)


def _once_raising(original: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[int] = []

    def broken(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise Surprise
        return original(*given)

    return broken


_TEXT: Final = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
_ROW: Final = st.fixed_dictionaries(
    {},
    optional={
        "topic": _TEXT,
        "aggregate_id": st.one_of(_TEXT, st.just("x" * 200_000), st.just("y" * 1_100_000)),
        "source": _TEXT,
        "type": st.one_of(_TEXT, st.just(RESENT)),
        "dataschema": _TEXT,
        "traceparent": _TEXT,
        "data": st.binary(max_size=200),
        "occurred_at": st.one_of(
            st.sampled_from(UNREADABLE),
            st.datetimes(timezones=st.just(UTC)).map(str),
        ),
    },
)


def test_no_row_stops_the_relay(database_url: str, kafka: Cluster) -> None:
    topic = make_topic(kafka)
    rows: list[dict[str, Any]] = []

    @settings(max_examples=80, database=None, suppress_health_check=[*HealthCheck])
    @given(_ROW)
    def collect(row: dict[str, Any]) -> None:
        rows.append(row)

    collect()
    bad: Sequence[Event] = [event(topic, f"pi_{number % 7}") for number in range(len(rows))]
    good = [event(topic, "good", id=new_id()) for _ in range(5)]
    write(database_url, *bad, *good)
    for each, row in zip(bad, rows, strict=True):
        spoil(database_url, each.id, **row)
    with running_relay(database_url, kafka):
        wait_until(lambda: pending(database_url) == 0)
    sent = read_topic(kafka, topic, until=at_least(len(good)))
    ids = [record.headers.get("ce_id") for record in sent]
    assert [each for each in ids if each in {str(one.id) for one in good}] == [str(each.id) for each in good]
    assert len(good) <= len(ids) <= len(good) + len(bad)
    assert set(parked(database_url).values()) <= {
        "row_unreadable", "topic_unknown", "topic_invalid", "record_too_large", "record_invalid",
    }  # fmt: skip
