"""Lost leads, messages, documents and configuration are rebuilt from the log as far as it has them, and nothing is sent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from elasticsearch import AsyncElasticsearch

from operations.errors import OperationError
from operations.rebuild.projections import sources
from ops.doctor.projections import check_projections
from outbox.append import append, event_of
from projections import config
from projections.search import take_version
from runtime.database import make_pool
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.leads import DELIVER, DeliverLead
from schemas.operations import NotificationFailed, NotificationSent, SendNotification
from schemas.search import PropertyDeleted, PropertyUpserted
from schemas.topics import Topic
from streams.leads.handler import LeadsHandler
from streams.notifications import store
from streams.notifications.dispatcher import event_fields as named
from streams.notifications.handler import NotificationsHandler
from streams.search.documents import Documents
from streams.search.handler import SearchHandler
from streams.store import mark
from tests.integration.operations.rebuilding import Log
from tests.integration.operations.replaying import lives
from tests.integration.streams.commands import envelope_of
from tests.integration.streams.delivering import came, leads_on, round_of
from tests.integration.streams.test_search import found
from tests.simulators.crm import status
from tests.simulators.partner import lead

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import psycopg

    from runtime.kafka import Cluster
    from schemas.envelope import Event

LEADS: Final = ("leads", "lead_attempts", "history")


@pytest.fixture
def log(kafka: Cluster, elasticsearch_server: str, database_url: str) -> Log:
    made = Log(database_url, kafka)
    made.environment |= {
        "ELASTICSEARCH_URL": elasticsearch_server,
        "NOTIFY_EMAIL_URL": "mailto://127.0.0.1:9",
        "NOTIFY_MESSAGE_DOMAIN": "t.localhost",
    }
    return made


async def deliver(log: Log, rounds: int) -> dict[str, UUID]:
    """Have the worker deliver leads, with every possible outcome."""
    bodies = {name: lead(name, partner) for name, partner in (("good", "acme"), ("bad", "other"), ("later", "other"))}
    async with leads_on(log.database_url) as world:
        events = {name: came(body, world.clock.now) for name, body in bodies.items()}
        await asyncio.to_thread(log.write, events.values(), Topic.PARTNER_LEADS)
        await asyncio.to_thread(log.handle, [*events.values()][:2], LeadsHandler())
        world.crm.answers("/other", status(500, "out of order"))
        async with world.dispatcher() as dispatcher:
            for n in range(rounds):
                await round_of(dispatcher)
                world.clock.forward(30)
                if n == rounds - 2:
                    await asyncio.to_thread(log.handle, [events["later"]], LeadsHandler())
    return {name: event.id for name, event in events.items()}


def plain(dump: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows without the columns that no event has: when an attempt began, and the CRM's answer."""
    attempts = [{**row, "started_at": None, "excerpt": None} for row in dump["lead_attempts"]]
    return {**dump, "lead_attempts": attempts}


@pytest.mark.parametrize("how", ["truncate {}", "drop table {}"])
def test_leads_come_back_as_they_were(log: Log, how: str) -> None:
    ids = asyncio.run(deliver(log, 5))
    before, emitted = log.dump(*LEADS), log.emitted()
    assert {row["id"]: row["status"] for row in before["leads"]} == {
        ids["good"]: "delivered", ids["bad"]: "exhausted", ids["later"]: "retrying",
    }  # fmt: skip
    log.change(*(how.format(table) for table in LEADS))
    found = log.rebuild("leads", "history")
    assert (found["exit"], log.table(found, "leads")["missing"]) == (0, 3)
    assert plain(log.dump(*LEADS)) == plain(before)
    assert log.emitted() == emitted


def test_a_lead_with_an_attempt_that_no_event_reports_is_held_back(log: Log) -> None:
    ids = asyncio.run(deliver(log, 2))
    log.change("truncate leads, lead_attempts")
    assert log.rebuild("leads")["exit"] == 0
    found = {row["id"]: (row["status"], row["suppressed"], row["next_attempt_at"]) for row in log.dump("leads")["leads"]}
    assert found[ids["good"]] == ("delivered", None, None)
    assert found[ids["later"]][:2] in {("received", "replay"), ("retrying", None)}
    log.change("truncate leads", "delete from outbox where type = 'lead.delivery.failed'")
    log.rebuild("leads")
    [held] = log.rows("select * from leads where id = %s", ids["bad"])
    assert (held["status"], held["suppressed"], held["next_attempt_at"]) == ("received", "replay", None)


def test_a_delivery_that_was_requested_stays_requested(log: Log) -> None:
    ids = asyncio.run(deliver(log, 5))
    command = DeliverLead(lead_id=ids["bad"], partner_id="other", afresh=True)
    asked = envelope_of(command, subject=str(ids["bad"]))
    log.write([asked], Topic.LEAD_COMMANDS)
    log.handle([asked], LeadsHandler())
    [before] = log.rows("select * from leads where id = %s", ids["bad"])
    assert (asked.type, before["failures"], before["task_ids"]) == (DELIVER, 0, [asked.id])
    log.change("truncate leads")
    assert log.rebuild("leads", "--with-side-effects")["exit"] == 0
    [after] = log.rows("select * from leads where id = %s", ids["bad"])
    assert {**after, "next_attempt_at": None} == {**before, "next_attempt_at": None}
    assert after["next_attempt_at"] == asked.occurred_at


def test_a_lead_whose_event_is_gone_is_counted(log: Log) -> None:
    ids = asyncio.run(deliver(log, 2))
    log.change(f"delete from outbox where id = '{ids['good']}'", "truncate leads, lead_attempts")
    found = log.rebuild("leads")
    assert (found["exit"], found["lost"], log.table(found, "leads")["samples"]["lost"]) == (1, 1, [str(ids["good"])])


def command_to(to: str) -> Event:
    data = {"providerPaymentId": "pi_1", "amount": 2990, "currency": "eur"}
    return envelope_of(SendNotification(to=to, channel="EMAIL", template="payment-succeeded", data=data))


def send(log: Log, commands: Sequence[Event]) -> None:
    """The first is sent, the second fails, the third waits, the fourth has no address."""
    log.write(commands, Topic.NOTIFICATION_COMMANDS)
    log.handle(commands, NotificationsHandler(frozenset({"EMAIL"}), "t.localhost"))

    async def work(connection: psycopg.AsyncConnection) -> None:
        for each in await store.claim(connection, "EMAIL", 2, timedelta(minutes=1)):
            fails = each.recipient.startswith("b")
            news = NotificationFailed(**named(each), reason="recipient_refused") if fails else NotificationSent(**named(each))
            async with connection.transaction():
                await store.settle(connection, [store.Ended(each, news)])

    log.work(work)


def test_messages_come_back_as_they_ended_and_none_is_sent_again(log: Log) -> None:
    commands = [command_to(to) for to in ("a@example.com", "b@example.com", "c@example.com", "nobody")]
    send(log, commands)
    before, emitted = log.dump("notifications")["notifications"], log.emitted()
    assert [row["status"] for row in before] == ["sent", "failed", "queued", "failed"]
    for how in ("truncate notifications", "drop table notifications"):
        log.change(how)
        found = log.rebuild("notifications")
        assert (found["exit"], log.table(found, "notifications")["missing"]) == (0, 4)
        after = log.dump("notifications")["notifications"]
        assert [row for row in after if row["id"] != commands[2].id] == [row for row in before if row["id"] != commands[2].id]
        [held] = [row for row in after if row["id"] == commands[2].id]
        assert (held["status"], held["reason"], held["next_attempt_at"]) == ("suppressed", "replay", None)
    log.change("truncate notifications")
    log.rebuild("notifications", "--with-side-effects")
    again = log.dump("notifications")["notifications"]
    times = {"next_attempt_at": None, "updated_at": None}
    assert [{**row, **times} for row in again] == [{**row, **times} for row in before]
    assert log.emitted() == emitted
    log.change("insert into retention_cutoffs values ('notifications', now() + interval '1 minute', now())")
    log.change("truncate notifications")
    log.rebuild("notifications", "--with-side-effects")
    assert [row["status"] for row in log.dump("notifications")["notifications"]] == ["queued"]


async def configure(connection: psycopg.AsyncConnection, key: str, value: Any, by: str = "test") -> None:
    async with connection.transaction():
        await config.change(connection, key, value, expected=None, change_id=new_id(), by=by, trace=new_trace())


def test_configuration_comes_back_with_its_history(log: Log) -> None:
    async def work(connection: psycopg.AsyncConnection) -> None:
        for n, (key, value) in enumerate([("a", 1), ("b", {"x": [1.5, "ü", None]}), ("a", 2**53), ("lead.max_attempts", 3)]):
            await configure(connection, key, value, f"t{n}")

    log.work(work)
    before, emitted = log.dump("config", "config_history"), log.emitted()
    for how in ("truncate {}", "drop table {}"):
        for tables in (["config"], ["config_history"], ["config", "config_history"]):
            log.change(*(how.format(table) for table in tables))
            assert log.rebuild("config")["exit"] == 0
            assert log.dump("config", "config_history") == before
    assert log.emitted() == emitted
    first = before["config_history"][0]["id"]
    log.change("truncate config, config_history", f"delete from outbox where id = '{first}'")
    found = log.rebuild("config")
    assert (found["exit"], log.table(found, "config_history")["samples"]["lost"]) == (1, ["a 1"])
    assert log.dump("config") == {"config": before["config"]}


async def events_of_documents(log: Log, changes: Sequence[tuple[str, dict[str, Any] | None]]) -> list[Event]:
    """Emit them as the gateway does, each with the next version."""
    made: list[Event] = []

    async def work(connection: psycopg.AsyncConnection) -> None:
        for name, doc in changes:
            async with connection.transaction():
                version = await take_version(connection, "properties", name, None)
                record = PropertyDeleted(id=name, version=version)
                if doc is not None:
                    record = PropertyUpserted(id=name, version=version, doc=doc)
                event = event_of(
                    record, aggregate_id=name, source="/t", occurred_at=datetime.now(UTC), trace=new_trace(), version=version
                )
                await append(connection, [event])
                made.append(event)

    await asyncio.to_thread(log.work, work)
    return made


async def test_documents_come_back_in_their_last_version(log: Log) -> None:
    changes = [("p1", {"n": 1}), ("p2", {"n": 1}), ("p1", {"n": 2}), ("p2", None), ("p3", {"n": 3})]
    async with AsyncElasticsearch(log.environment["ELASTICSEARCH_URL"], request_timeout=30) as client:
        for name in list(await client.indices.get(index="properties*", allow_no_indices=True)):
            await client.indices.delete(index=name)
        events = await events_of_documents(log, changes)

        def handle() -> None:
            async def work() -> None:
                async with AsyncElasticsearch(log.environment["ELASTICSEARCH_URL"]) as own:
                    handler = SearchHandler(Documents(own, "properties"))
                    async with make_pool(log.database_url, size=1, name="test") as pool, pool.connection() as connection:
                        for event in events:
                            async with connection.transaction():
                                await mark(connection, "search", [event.id])
                                await handler.handle(connection, [event])

            asyncio.run(work())

        await asyncio.to_thread(handle)
        before, documents, emitted = log.dump("search_documents"), await found(client), log.emitted()
        assert documents == {"p1": {"n": 2}, "p3": {"n": 3}}
        for how in ("truncate search_documents", "drop table search_documents"):
            log.change(how)
            answer = await asyncio.to_thread(log.rebuild, "search")
            assert (answer["exit"], answer["index"]["missing"]) == (0, 0)
            assert log.dump("search_documents") == before
        for name in list(await client.indices.get(index="properties*")):
            await client.indices.delete(index=name)
        dry = await asyncio.to_thread(log.rebuild, "search", "--dry-run")
        assert (dry["index"]["missing"], dry["index"]["written"]) == (3, 0)
        answer = await asyncio.to_thread(log.rebuild, "search")
        assert (answer["exit"], answer["index"]) == (0, {"log": 3, "missing": 3, "written": 3, "refused": 0, "lost": 0})
        assert await found(client) == documents
        assert log.emitted() == emitted
        log.change(f"delete from outbox where id = '{events[-1].id}'")
        for name in list(await client.indices.get(index="properties*")):
            await client.indices.delete(index=name)
        answer = await asyncio.to_thread(log.rebuild, "search")
        assert (answer["exit"], answer["index"]["lost"]) == (1, 1)


def findings(log: Log) -> dict[str, tuple[str, str]]:
    """Return the doctor's findings about projections, by the command that it advises."""
    found_ = list(check_projections({"DATABASE_URL": log.database_url}))
    return {finding.act.split("`")[1] if finding.act else "": (finding.level, finding.text) for finding in found_}


def test_the_doctor_finds_lost_rows(log: Log) -> None:
    log.payments(lives(20, seed=1))
    asyncio.run(deliver(log, 2))
    send(log, [command_to("a@example.com")])
    log.change("insert into config_history values ('a', 1, '1', gen_random_uuid(), now(), 'x')")
    log.change("insert into config values ('a', '1', 1)")
    [(_, (level, text))] = findings(log).items()
    assert level == "ok"
    assert text.startswith("the rows exist that the history names (")
    log.change("delete from payments where id = (select min(id) from payments)", "truncate leads, notifications, config")
    log.change("drop table invoices")
    assert findings(log) == {
        "tallyhook rebuild invoices --dry-run": ("fail", "the table invoices does not exist"),
        "tallyhook rebuild payments --dry-run": ("fail", "1 of 20 payments that the history names have no row"),
        "tallyhook rebuild leads --dry-run": ("fail", "3 of 3 leads that the history names have no row"),
        "tallyhook rebuild config --dry-run": ("fail", "the table config is empty, and had rows before"),
        "tallyhook rebuild notifications --dry-run": ("fail", "the table notifications is empty, and had rows before"),
    }
    assert log.rebuild("payments", "invoices", "leads", "notifications", "config")["exit"] == 0
    assert [level for level, _ in findings(log).values()] == ["ok"]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ("payments, history", {"payments": "20 of 20 payments that the newest events name have no row", "history": "is empty"}),
        (
            "invoices, history",
            {"invoices": "the newest events name", "history": "the table history is empty, and had rows before"},
        ),
        ("reconciliations", {"reconciliations": "the table reconciliations is empty"}),
        ("config, config_history", {"config": "is empty, and had rows before"}),
        ("leads, lead_attempts, history", {"leads": "the table leads is empty", "history": "the table history is empty"}),
        ("lead_attempts", {"leads": "the table lead_attempts is empty"}),
    ],
)
def test_the_doctor_finds_lost_rows_and_names_the_rebuild_that_restores_them(
    log: Log, tables: str, expected: dict[str, str]
) -> None:
    log.payments(lives(20, seed=1))
    asyncio.run(deliver(log, 2))
    log.work(lambda connection: configure(connection, "lead.max_attempts", 3))
    assert [level for level, _ in findings(log).values()] == ["ok"]
    log.change(f"truncate {tables}")
    found_ = findings(log)
    for name, text in expected.items():
        level, text_found = found_[f"tallyhook rebuild {name} --dry-run"]
        assert (level, text in text_found) == ("fail", True), text_found


def test_rebuilds_done_before_a_refused_one_are_reported(log: Log) -> None:
    log.payments(lives(5, seed=2))
    log.change("truncate payments", "drop table contacts")
    report = log.rebuild("payments", "notifications")
    assert (report["exit"], log.table(report, "payments")["missing"], len(log.dump("payments")["payments"])) == (1, 5, 5)
    assert report["err"].startswith("tallyhook: table_missing: the table contacts is missing")


def test_data_that_no_event_has_is_named_when_rows_are_rebuilt_without_it(log: Log) -> None:
    log.payments(lives(5, seed=2))
    asyncio.run(deliver(log, 1))
    log.change("truncate reconciliations, leads, lead_attempts")
    report = {each["source"]: each["untold"] for each in log.rebuild("reconciliations", "leads", "subscriptions")["rebuilt"]}
    assert "expected amounts" in report["reconciliations"]
    assert "the CRM's answer" in report["leads"]
    assert report["payments"] == ""
    log.change("truncate history")  # its rows are restored completely, and no others
    assert {each["untold"] for each in log.rebuild("reconciliations", "leads")["rebuilt"]} == {""}


@pytest.mark.parametrize("name", ["contacts", "lead_keys", "lead_discards", "expectations", "dead_letters", "outbox"])
def test_a_table_that_is_in_no_log_is_refused_with_the_cause(name: str) -> None:
    with pytest.raises(OperationError) as caught:
        sources([name], {}, effects=False)
    assert (caught.value.reason, "again" in str(caught.value) or "backup" in str(caught.value)) == ("projection_not_in_log", True)


def test_a_dropped_table_of_payments_does_not_keep_the_others_from_being_compared(log: Log) -> None:
    log.payments(lives(5, seed=2))
    log.change("drop table payments")
    report = log.rebuild("all", "--dry-run")
    assert (report["exit"], "table_missing: the table payments" in report["err"]) == (1, True)
    assert [each["source"] for each in report["rebuilt"]] == ["payments", "leads", "notifications", "search", "config"]
