"""Lost tables are rebuilt from the log, equal to the byte, on a real Postgres and a real Kafka."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.command import tallyhook
from tests.integration.operations.rebuilding import Log
from tests.integration.operations.replaying import STRIPE, World, envelope, lives
from tests.simulators import stripe
from tests.waiting import wait_until

if TYPE_CHECKING:
    from runtime.kafka import Cluster

BILLING = ("payments", "refunds", "disputes", "subscriptions", "invoices")
WHOLE = (*BILLING, "history", "reconciliations")


@pytest.fixture
def log(kafka_topics: Cluster, database_url: str) -> Log:
    return Log(database_url, kafka_topics)


@pytest.fixture
def world(kafka_topics: Cluster, database_url: str) -> World:
    return World(kafka_topics, database_url)


@pytest.mark.parametrize("how", ["truncate {}", "drop table {}"])
def test_lost_rows_come_back_as_they_were_and_no_event_is_emitted(log: Log, how: str) -> None:
    log.payments(lives(60, seed=1))
    before, emitted = log.dump(), log.emitted()
    for name in BILLING:
        log.change(how.format(name))
        found = log.rebuild(name)
        assert (found["exit"], found["ok"], found["unexplained"], found["lost"]) == (0, True, 0, 0)
        assert log.table(found, name)["missing"] == found["rebuilt"][0]["changed"] == len(before[name])
        assert found["rebuilt"][0]["fromLog"] == 300
        assert log.dump() == before
    assert log.emitted() == emitted


def test_rows_made_after_the_loss_are_corrected_and_the_rest_of_the_history_comes_back_too(log: Log) -> None:
    bodies = lives(40, seed=2)
    log.payments(bodies[:150])
    log.change("truncate payments", "truncate history")
    log.payments(bodies[150:])
    reference = log.rebuild("payments", "history")
    assert (reference["exit"], log.table(reference, "payments")["behind"] > 0) == (0, True)
    after = log.dump()
    log.change("truncate payments, refunds, disputes, subscriptions, invoices, history, reconciliations")
    assert log.rebuild(*WHOLE)["exit"] == 0
    assert (log.dump("payments", "history"), len(after["payments"])) == ({k: after[k] for k in ("payments", "history")}, 40)
    assert log.rebuild(*WHOLE, "--dry-run")["rebuilt"][0]["changed"] == 0


def test_unexplained_rows_are_shown_and_changed_only_on_demand(log: Log) -> None:
    log.payments(lives(20, seed=3))
    before = log.dump()
    log.change(
        "update payments set status = 'failed', amount_refunded = 0 where id = (select min(id) from payments)",
        "delete from payments where id = (select max(id) from payments)",
        "insert into payments select provider, 'pi_nobody', 'pending', 1, 0, 'eur', 'r', null, null, null, null, 1, now(), '{}' "
        "from payments limit 1",
    )
    harmed = log.dump()
    for arguments in (["payments"], ["payments", "--dry-run"]):
        found = log.rebuild(*arguments)
        assert (found["exit"], found["unexplained"], found["rebuilt"][0]["changed"]) == (1, 2, 0)
        assert log.table(found, "payments")["samples"]["extra"] == ["pi_nobody stripe"]
        assert log.dump() == harmed
    found = log.rebuild("payments", "--yes")
    assert (found["exit"], found["rebuilt"][0]["changed"]) == (0, 3)
    assert log.dump() == before


def test_the_paid_halves_come_back_and_expectations_stay(log: Log) -> None:
    log.payments(lives(20, seed=4))
    log.change(
        "insert into reconciliations (reference, expected_amount, expected_currency, user_id) values ('waits', 5, 'eur', 'u')",
        "update reconciliations set expected_amount = paid_amount, expected_currency = 'eur', user_id = 'u' "
        "where reference < 'order-4-15'",
    )
    before = log.dump()
    log.change(
        "delete from reconciliations where expected_amount is null",
        "update reconciliations set payment_id = null, paid_amount = null, paid_currency = null",
    )
    assert log.rebuild("reconciliations")["exit"] == 0
    assert log.dump() == before
    for name in ("expectations", "contacts", "nonsense"):
        with log.start(name) as command:
            done = command.ended()
        assert done.returncode == 1
        assert done.stderr.startswith(f"tallyhook: projection_{'unknown' if name == 'nonsense' else 'not_in_log'}: ")


def test_events_that_the_log_no_longer_has_come_from_kafka_or_are_reported(log: Log, world: World) -> None:
    begin = world.ends()
    world.use(log.database_url)
    events = log.payments(lives(20, seed=5))
    world.produce(events)
    assert world.ends() != begin
    before = log.dump()
    log.change("truncate outbox", "truncate payments")
    found = log.rebuild("payments")
    assert (found["exit"], found["rebuilt"][0]["fromLog"], found["rebuilt"][0]["fromKafka"]) == (0, 0, 100)
    assert log.dump() == before
    late = log.payments(lives(20, seed=6))
    log.change(f"delete from outbox where id = '{late[0].id}'")
    whole = log.dump()
    log.change("truncate refunds, payments, disputes, invoices, subscriptions")
    found = log.rebuild(*BILLING)
    lost = {name for name in BILLING if log.table(found, name)["lost"]}
    assert (found["exit"], found["lost"] >= 1, found["rebuilt"][0]["gone"]) == (1, True, 1)
    assert lost
    for name in BILLING:
        missing = len(whole[name]) - len(log.dump(name)[name])
        assert missing == log.table(found, name)["lost"]


def test_an_event_that_was_set_aside_has_no_effects_and_gets_none(log: Log) -> None:
    life = stripe.Payment()
    log.payments([life.created(1)])
    [aside] = [envelope(life.succeeded(2))]
    log.write([aside], STRIPE)
    log.change(
        f"insert into consumed values ('{aside.id}', 'payments')",
        'insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers, event_id) '
        f"values (gen_random_uuid(), 'payments', 'handler_failed', 'x', 'webhooks.stripe', 0, 0, '[]', '{aside.id}')",
    )
    before = log.dump()
    log.change("truncate payments")
    assert log.rebuild("payments")["exit"] == 0
    assert (log.dump(), before["payments"][0]["status"]) == (before, "pending")


def test_erased_subjects_stay_erased(log: Log, world: World) -> None:
    world.use(log.database_url)
    life, other = stripe.Payment(receipt_email="ada@example.com"), stripe.Payment(receipt_email="bob@example.com")
    invoice = stripe.Invoice(customer_email="ada@example.com")
    bodies = [life.created(1), life.succeeded(2), other.succeeded(3), invoice.created(4), invoice.paid(5)]
    world.produce(log.payments(bodies))
    log.change("truncate outbox_pending")
    erased = tallyhook(log.environment, "erase", "--email", "ada@example.com", "--reason", "asked", "--yes")
    assert erased.returncode == 0, erased.stderr
    before = log.dump()
    assert b"ada@" not in b"".join(row["state"] for row in before["payments"] + before["invoices"])
    log.change("truncate payments, invoices")
    found = log.rebuild("payments", "invoices")
    assert (found["exit"], found["rebuilt"][0]["fromKafka"]) == (0, 4)
    assert log.dump() == before


def test_after_an_erasure_nothing_comes_back_that_was_read_before_it(log: Log) -> None:
    log.payments(lives(5, seed=7))
    log.change(
        "truncate payments",
        "insert into erasures (id, kind, subject, reason, requested_by) values (gen_random_uuid(), 'email', 'x', 'x', 'x')",
    )
    with log.start("payments") as command:
        done = command.ended()
    assert (done.returncode, done.stderr.partition(": a ")[0]) == (1, "tallyhook: erasure_meanwhile")
    assert log.dump("payments") == {"payments": []}


def test_events_that_come_meanwhile_are_in_the_table_that_comes_back(log: Log) -> None:
    bodies = lives(300, seed=8)
    log.payments(bodies[:900])
    log.change("truncate payments, subscriptions")
    ended, handled = threading.Event(), [900]

    def go_on() -> None:
        while handled[0] < len(bodies) and not ended.is_set():
            log.payments(bodies[handled[0] : handled[0] + 10], batch=5)
            handled[0] += 10

    worker = threading.Thread(target=go_on)
    worker.start()
    try:
        found = log.rebuild("payments", "subscriptions")
    finally:
        ended.set()
        worker.join()
    assert found["exit"] == 0
    assert handled[0] > 910
    assert 0 < found["rebuilt"][0]["lockedMs"] < 10_000
    log.payments(bodies[handled[0] :])
    whole = log.dump()
    assert len(whole["payments"]) == 300
    log.change("truncate payments, refunds, disputes, subscriptions, invoices, history, reconciliations")
    assert log.rebuild(*WHOLE)["exit"] == 0
    assert log.dump() == whole


def test_a_command_that_is_killed_has_changed_nothing_and_leaves_nothing_for_long(log: Log) -> None:
    log.payments(lives(100, seed=9))
    before = log.dump()
    log.change("truncate payments")
    with psycopg.connect(log.database_url) as reader:
        reader.execute("lock table payments in row share mode")
        with log.start("payments") as command:
            wait_until(lambda: log.rows("select from pg_locks where mode = 'ExclusiveLock' and relation = 'payments'::regclass"))
            command.kill()
    assert log.dump("payments") == {"payments": []}
    [left] = log.rows("select nspname from pg_namespace where starts_with(nspname, 'shadow_')")
    wait_until(lambda: not log.rows("select from pg_stat_activity where application_name like 'tallyhook rebuild%%'"))
    found = log.rebuild("payments")
    assert (found["exit"], found["err"]) == (0, f"dropped {left['nspname']}, which a killed run had left\n")
    assert log.dump() == before
    assert log.rows("select from pg_namespace where starts_with(nspname, 'shadow_')") == []


_SPOIL = """
create function spoil() returns event_trigger language plpgsql as $$
declare made record;
begin
  for made in select * from pg_event_trigger_ddl_commands() loop
    if made.object_identity like 'shadow%.wanted' then
      execute format('alter table %I.history rename to away', made.schema_name);
    end if;
  end loop;
end $$
"""


def test_a_rebuild_that_postgres_refuses_says_so_and_waits(log: Log) -> None:
    log.payments(lives(10, seed=11))
    before = log.dump()
    log.change(
        "truncate payments",
        _SPOIL,
        "create event trigger spoil on ddl_command_end when tag in ('CREATE TABLE') execute function spoil()",
    )
    with log.start("payments") as command:
        wait_until(lambda: "waiting" in command.printed() or not command.runs())
        [shadow] = log.rows("select nspname from pg_namespace where starts_with(nspname, 'shadow_')")
        log.change(f"alter table {shadow['nspname']}.away rename to history")
        done = command.ended()
    why = 'waiting: postgres_refuses: relation "history" does not exist (repeated until it succeeds; Ctrl-C ends the command)\n'
    assert (done.returncode, done.stderr) == (0, why)
    assert log.dump() == before


def test_tables_are_locked_for_no_longer_than_is_allowed(log: Log) -> None:
    log.payments(lives(10, seed=10))
    log.change("truncate payments")
    with psycopg.connect(log.database_url) as reader:
        reader.execute("lock table payments in row share mode")
        with log.start("payments") as command:
            done = command.ended()
    assert (done.returncode, done.stderr) == (1, "tallyhook: tables_busy: payments could not be locked: try again\n")
    assert log.dump("payments") == {"payments": []}
