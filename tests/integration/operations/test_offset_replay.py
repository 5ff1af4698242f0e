"""Offsets moved back, and shadows beside the live tables, on a real Kafka and a real Postgres."""

from __future__ import annotations

import re
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest

from ops.dev.processes import TALLYHOOK
from outbox.append import event_of
from runtime.ids import first_id_of, new_id
from runtime.tracing import new_trace
from schemas.operations import NotificationFailed, NotificationSent, SendNotification
from streams.notifications.handler import NotificationsHandler
from tests.integration.operations.replaying import STRIPE, World, at, envelope, lives
from tests.simulators import stripe
from tests.waiting import LIMIT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outbox.offsets import Place
    from runtime.kafka import Cluster
    from schemas.envelope import Event

PAYMENTS = ("--worker", "payments", "--topic", STRIPE)
PAYMENTS_WORKER = (TALLYHOOK, "worker", "payments")
NOTIFICATIONS = ("--worker", "notifications", "--topic", "notification.commands")


@pytest.fixture
def world(kafka_topics: Cluster, database_url: str) -> Iterator[World]:
    made = World(kafka_topics, database_url)
    yield made
    made.drop_backups()


def test_a_shadow_of_five_thousand_events_equals_the_live_tables_and_leaves_nothing(world: World) -> None:
    begin = world.ends()
    world.produce(envelope(body) for body in lives(1000, seed=1))
    world.handle(begin)
    before = world.projected()
    outbox = world.rows("select count(*) from outbox")
    with psycopg.connect(world.database_url, autocommit=True) as relay:
        relay.execute("listen outbox")
        found = world.data(*PAYMENTS, *at(begin), "--shadow")
        assert list(relay.notifies(timeout=0.1)) == []
    assert (found["exit"], found["equal"], found["records"]) == (0, True, 5000)
    refunds = disputes = len(range(0, 1000, 6))
    assert found["compared"] == 2000 + sum(1 for n in range(1000) if n % 3) + refunds + disputes
    assert (found["outsideRange"], found["liveBehind"], found["setAside"]) == (0, 0, {})
    assert found["wouldTell"]["billing.payment.succeeded"] == 1000
    assert world.projected() == before
    assert world.rows("select count(*) from outbox") == outbox
    assert world.rows("select nspname from pg_namespace where nspname like 'shadow%%'") == []


def test_a_row_that_differs_from_the_log_is_found_and_shown(world: World) -> None:
    begin = world.ends()
    life = stripe.Payment()
    world.produce([envelope(life.created(100)), envelope(life.succeeded(101)), *map(envelope, lives(20, seed=2))])
    world.handle(begin)
    world.change("update payments set status = 'failed' where id = %s", life.id)
    [lost] = world.rows("delete from invoices where id = (select min(id) from invoices) returning id")
    world.change("insert into subscriptions values ('stripe', 'sub_nobody', 'active', null, null, 1, now(), '{}')")
    world.change("update reconciliations set paid_amount = paid_amount + 1 where payment_id = %s", life.id)
    found = world.data(*PAYMENTS, *at(begin), "--shadow")
    assert (found["exit"], found["equal"]) == (1, False)
    assert {(each["table"], each["kind"], each["rows"]) for each in found["differences"]} == {
        ("payments", "different", 1),
        ("invoices", "missing", 1),
        ("subscriptions", "extra", 1),
        ("reconciliations", "different", 1),
    }
    samples = {each["key"]: each for each in found["samples"] if each["table"] != "reconciliations"}
    assert samples.keys() == {life.id, lost["id"], "sub_nobody"}
    assert samples[life.id]["columns"] == {"status": {"live": "failed", "log": "succeeded"}}
    code, out, _ = world.run(*PAYMENTS, *at(begin), "--shadow")
    assert code == 1
    assert f"payments {life.id}: different\n  status\n    live failed\n    log  succeeded" in out


def test_a_contact_that_was_erased_is_no_difference(world: World) -> None:
    begin = world.ends()
    life = stripe.Payment(receipt_email="ada@example.com")
    world.produce([envelope(life.succeeded(9))])
    world.handle(begin)
    erased = world.change(
        "update payments set state = convert_to((convert_from(state, 'UTF8')::jsonb - 'contact')::text, 'UTF8')"
    )
    assert (erased, world.data(*PAYMENTS, *at(begin), "--shadow")["exit"]) == (1, 1)
    world.change("insert into erasures (id, kind, subject, reason, requested_by) values (%s, 'email', 'x', 'x', 'x')", new_id())
    assert world.data(*PAYMENTS, *at(begin), "--shadow")["exit"] == 0


def test_aggregates_with_events_outside_the_range_are_distinguished(world: World) -> None:
    begin = world.ends()
    early, late = stripe.Payment(), stripe.Payment()
    world.produce([envelope(early.created(100))])
    middle = world.ends()
    world.produce([envelope(early.succeeded(101)), envelope(late.succeeded(102))])
    end = world.ends()
    world.produce([envelope(late.refunded(5, 103))])
    world.handle(begin)
    found = world.data(*PAYMENTS, *at(middle), *(word.replace("--from-offset", "--to") for word in at(end)), "--shadow")
    assert (found["exit"], found["records"], found["compared"], found["outsideRange"]) == (0, 2, 0, 2)


def test_a_worker_that_goes_on_meanwhile_makes_no_difference(world: World) -> None:
    begin = world.ends()
    bodies = lives(400, seed=3)
    world.produce(map(envelope, bodies[:1000]))
    world.handle(begin)
    world.produce(map(envelope, bodies[1000:1600]))
    ended = threading.Event()

    def go_on() -> None:
        remaining = [envelope(body) for body in bodies[1600:]]
        while not ended.is_set() or remaining:
            world.produce(remaining[:50])
            del remaining[:50]
            world.read_on()

    worker = threading.Thread(target=go_on)
    worker.start()
    try:
        found = world.data(*PAYMENTS, *at(begin), "--shadow")
    finally:
        ended.set()
        worker.join()
    assert (found["exit"], found["differences"], found["liveBehind"]) == (0, [], 0)
    assert found["compared"] > 100
    again = world.data(*PAYMENTS, *at(begin), "--shadow")
    assert (again["equal"], again["records"], again["outsideRange"]) == (True, 2000, 0)


def test_a_record_that_does_not_decode_is_set_aside_in_the_shadow_only(world: World) -> None:
    begin = world.ends()
    world.produce_raw(b"no event")
    world.produce([envelope(stripe.Payment().succeeded(9))])
    found = world.data(*PAYMENTS, *at(begin), "--shadow")
    assert found["setAside"] == {"envelope_incomplete": 1}
    assert world.rows("select * from dead_letters") == []
    assert world.rows("select * from alert_windows") == []
    assert world.rows("select * from outbox") == []


def test_remains_of_a_killed_run_are_deleted_by_the_next_and_kept_data_stays(world: World) -> None:
    begin = world.ends()
    world.produce(map(envelope, lives(400, seed=5)))
    world.handle(begin)
    kept = world.data(*PAYMENTS, *at(begin), "--shadow", "--keep")["schema"]
    assert world.rows(f"select count(*) from {kept}.payments") == [{"count": 400}]
    with world.start("replay", "offsets", *PAYMENTS, *at(begin), "--shadow") as command:
        wait_until(lambda: len(schemas(world)) == 2)
        command.kill()
    [left] = set(schemas(world)) - {kept}
    wait_until(lambda: not world.rows("select from pg_stat_activity where application_name like 'tallyhook shadow%%'"))
    code, _, err = world.run(*PAYMENTS, *at(begin), "--shadow")
    assert (code, err) == (0, f"dropped {left}, which a killed run had left\n")
    assert schemas(world) == [kept]


def schemas(world: World) -> list[str]:
    return [row["nspname"] for row in world.rows("select nspname from pg_namespace where starts_with(nspname, 'shadow_')")]


@pytest.mark.timeout(240)
def test_a_live_group_is_not_moved_and_a_stopped_one_reads_again_without_changes(world: World) -> None:
    begin = world.ends()
    world.commit("payments", begin)
    world.produce(map(envelope, lives(60, seed=6)))
    with subprocess.Popen(PAYMENTS_WORKER, env=world.environment) as worker:
        wait_until(lambda: world.rows("select count(*) from consumed") == [{"count": 300}])
        code, _, err = world.run(*PAYMENTS, *at(begin))
        assert code == 1
        assert re.match(r"tallyhook: group_live: tallyhook-payments is stable: \S+ at 127.0.0.1. Stop every payments worker", err)
        worker.terminate()
        worker.wait(LIMIT)
    before, outbox = world.projected(), world.rows("select * from outbox order by id")
    moved = world.data(*PAYMENTS, *at(begin))
    assert (moved["exit"], moved["moved"], moved["records"], moved["marked"], moved["toProcess"]) == (0, True, 300, 300, 0)
    assert world.committed("payments") == begin
    with world.start("replay", "offsets", *PAYMENTS, *at(begin), "--wait") as waiting:
        wait_until(lambda: world.rows("select count(distinct id) from offset_replays") == [{"count": 2}])
        with subprocess.Popen(PAYMENTS_WORKER, env=world.environment) as worker:
            done = waiting.ended()
            assert (done.returncode, done.stderr.partition(" in ")[0]) == (0, "300 records read again")
            assert world.committed("payments") == world.ends()
            assert world.rows("select count(*) from offset_replays where finished_at is null") == [{"count": 0}]
            worker.terminate()
            worker.wait(LIMIT)
    assert world.projected() == before
    assert world.rows("select * from outbox order by id") == outbox


@pytest.mark.parametrize("effects", ["suppressed", "allowed"])
def test_a_database_restored_from_a_backup_is_rebuilt_and_messages_are_sent_only_on_demand(world: World, effects: str) -> None:
    begin = world.ends()
    bodies = lives(100, seed=7)
    world.produce(map(envelope, bodies[:250]))
    world.handle(begin)
    backup, middle = world.back_up(), world.ends()
    world.produce(map(envelope, bodies[250:]))
    world.read_on()
    lost = world.projected()
    world.restore(backup)
    assert world.projected() != lost
    [last] = world.rows("select max(id) from outbox_pending")
    moved = world.data(*PAYMENTS, *at(middle), *(["--with-side-effects"] if effects == "allowed" else []))
    assert (moved["records"], moved["marked"], moved["toProcess"], moved["sideEffects"]) == (250, 0, 250, effects)
    world.read_on()
    assert world.projected() == lost
    assert world.rows("select count(*) from consumed") == [{"count": 500}]
    emitted = world.rows(
        "select type, replay_id::text from outbox_pending p join outbox o on o.id = p.event_id where p.id > %s", last["max"]
    )
    assert len(emitted) > 100
    assert any(row["type"] == "notification.send" for row in emitted) == (effects == "allowed")
    assert {row["replay_id"] for row in emitted} == ({moved["replayId"]} if effects == "suppressed" else {None})
    assert world.rows("select count(*) from offset_replays where finished_at is null") == [{"count": 0}]


def test_after_a_replay_people_are_written_to_as_before(world: World) -> None:
    begin = world.ends()
    world.commit("payments", begin)
    world.produce([envelope(stripe.Payment(metadata={"user_id": "u"}).succeeded(9))])
    world.commit("payments", world.ends())
    world.data(*PAYMENTS, *at(begin))
    world.produce([envelope(stripe.Payment(metadata={"user_id": "u"}).succeeded(9))])
    world.read_on()
    assert world.rows("select type, count(*) from outbox group by type order by type") == [
        {"type": "billing.payment.succeeded", "count": 2},
        {"type": "notification.send", "count": 1},
    ]


@pytest.mark.parametrize(("effects", "status"), [([], "suppressed"), (["--with-side-effects"], "queued")])
def test_a_message_without_a_mark_is_sent_again_only_on_demand(world: World, effects: list[str], status: str) -> None:
    topic, handler = "notification.commands", NotificationsHandler({"EMAIL"}, "tallyhook.test")
    begin = world.ends(topic)
    world.produce([command(f"u{n}@example.com") for n in range(10)], topic)
    world.commit("notifications", world.ends(topic))
    moved = world.data(*NOTIFICATIONS, *at(begin), *effects)
    assert moved["toProcess"] == 10
    world.produce([command("later@example.com")], topic)
    world.read_on(handler, topic)
    assert world.rows("select recipient, status, reason from notifications order by id") == [
        *({"recipient": f"u{n}@example.com", "status": status, "reason": None if effects else "replay"} for n in range(10)),
        {"recipient": "later@example.com", "status": "queued", "reason": None},
    ]
    assert world.rows("select * from outbox") == []


def test_a_message_that_waited_in_the_backup_gets_the_state_of_its_event(world: World) -> None:
    topic, handler = "notification.commands", NotificationsHandler({"EMAIL"}, "tallyhook.test")
    begin = world.ends(topic)
    commands = [command(f"u{n}@example.com") for n in range(3)]
    world.produce(commands, topic)
    world.handle(begin, handler, topic)
    sent, failed, _ = (data_of(each) for each in commands)
    world.produce(
        [
            event_from(NotificationSent(**sent)),
            event_from(NotificationFailed(**failed, reason="recipient_refused")),
            event_from(NotificationSent(**data_of(command("stranger@example.com")))),
        ],
        "notification.events",
    )
    world.produce_raw(b"no event", "notification.events")
    moved = world.data(*NOTIFICATIONS, *at(begin))
    assert (moved["marked"], moved["settled"]) == (3, 2)
    assert world.rows("select status, reason, attempts from notifications order by id") == [
        {"status": "sent", "reason": None, "attempts": 1},
        {"status": "failed", "reason": "recipient_refused", "attempts": 1},
        {"status": "queued", "reason": None, "attempts": 0},
    ]


def data_of(each: Event) -> dict[str, Any]:
    names = {"to": each.aggregate_id, "channel": "EMAIL", "template": "payment-succeeded"}
    return {"id": each.id, "message_id": f"<{each.id.hex}@tallyhook.test>", "attempts": 1, **names}


def command(to: str) -> Event:
    data = {"providerPaymentId": "pi_1", "amount": 2990, "currency": "eur"}
    return event_from(SendNotification(to=to, channel="EMAIL", template="payment-succeeded", data=data), to)


def event_from(record: msgspec.Struct, subject: str = "s") -> Event:
    return event_of(record, aggregate_id=subject, source="/test", occurred_at=datetime.now(UTC), trace=new_trace())


def test_a_replay_that_was_never_read_is_replaced_by_the_next(world: World) -> None:
    begin = world.ends()
    world.produce(map(envelope, lives(10, seed=8)))
    world.commit("payments", world.ends())
    first = world.data(*PAYMENTS, *at(begin))
    second = world.data(*PAYMENTS, *at(begin), "--with-side-effects")
    assert (first["toProcess"], second["toProcess"]) == (50, 50)
    world.read_on()
    assert world.rows("select count(*) from outbox where type = 'notification.send'") != [{"count": 0}]
    assert world.rows("select count(*) from offset_replays where finished_at is null") == [{"count": 0}]


def test_a_dry_run_reports_what_would_happen_and_changes_nothing(world: World) -> None:
    begin = world.ends()
    world.produce_raw(b"no event")
    world.produce(map(envelope, lives(10, seed=9)))
    end = world.ends()
    world.produce(map(envelope, lives(10, seed=10)))
    world.handle(begin)
    assert world.change("delete from consumed where event_id in (select event_id from consumed order by 1 limit 7)") == 7
    report = world.data(*PAYMENTS, *at(begin), "--dry-run")
    assert (report["exit"], report["moved"], report["replayId"]) == (0, False, None)
    assert (report["records"], report["marked"], report["toProcess"], report["unreadable"]) == (101, 93, 7, 1)
    bounded = world.data(*PAYMENTS, *at(begin), *(word.replace("--from-offset", "--to") for word in at(end)), "--dry-run")
    assert bounded["records"] == 51
    assert world.committed("payments") == world.ends()
    assert world.rows("select * from offset_replays") == []
    code, out, _ = world.run(*PAYMENTS, *at(begin), "--dry-run")
    assert code == 0
    assert "tallyhook-payments on webhooks.stripe would move: 101 records are read again" in out


def test_a_replay_reports_that_it_restores_no_row(world: World) -> None:
    begin = world.ends()
    world.produce(map(envelope, lives(10, seed=12)))
    world.handle(begin)
    world.change("truncate payments")
    for marks, remembered in ((50, 0), (0, 50)):
        report = world.data(*PAYMENTS, *at(begin), "--dry-run")
        assert (report["marked"], report["toProcess"], report["remembered"]) == (marks, remembered, remembered)
        _, out, _ = world.run(*PAYMENTS, *at(begin), "--dry-run")
        assert "so no row changes, and no lost row is restored: use `tallyhook rebuild` for this" in out
        world.change("delete from consumed")


def test_a_time_begins_at_the_first_record_of_that_time(world: World) -> None:
    begin = world.ends()
    world.produce(map(envelope, lives(4, seed=11)))
    world.handle(begin)
    report = world.data(*PAYMENTS, "--from-time", "10m", "--dry-run")
    assert report["records"] >= 20
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    code, out, _ = world.run(*PAYMENTS, "--from-time", tomorrow, "--dry-run")
    assert (code, out) == (
        0,
        "tallyhook-payments on webhooks.stripe: the committed offsets are not after this start; nothing to read again\n",
    )


def test_events_whose_marks_are_gone_are_not_read_again(world: World) -> None:
    begin = world.ends()
    old = msgspec.structs.replace(envelope(stripe.Payment().succeeded(9)), id=id_of(datetime.now(UTC) - timedelta(days=9)))
    world.produce([old])
    world.commit("payments", world.ends())
    code, _, err = world.run(*PAYMENTS, *at(begin))
    assert code == 1
    assert err.startswith("tallyhook: range_outside_retention: partition ")
    assert world.rows("select * from offset_replays") == []
    assert world.data(*PAYMENTS, *at(begin), "--shadow")["records"] == 1


def id_of(moment: datetime) -> Any:
    """A UUIDv7 of that time."""
    return type(new_id())(int=first_id_of(moment).int | (7 << 76) | (2 << 62) | 1)


def test_a_nonsensical_request_is_refused_in_one_line(world: World) -> None:
    begin: dict[Place, int] = world.ends()
    world.commit("payments", begin)
    for arguments, reason in [
        (("--from-offset", f"0:{max(begin.values()) + 1000}"), "offset_outside_log"),
        (("--from-start", "--to", "end"), "--to"),
        (("--from-start", "--shadow", "--wait"), "--wait"),
    ]:
        code, out, err = world.run(*PAYMENTS, *arguments)
        assert (code, out) == (1, ""), arguments
        assert err.startswith(f"tallyhook: {reason}"), err
        assert err.count("\n") == 1
