"""Group commit against a real Postgres: every outcome, every race, and every failure of the database."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from psycopg.errors import DeadlockDetected

from gateway import metrics
from gateway.errors import GatewayError, Reason
from gateway.webhooks.intake import COMMITS_IN_FLIGHT, Intake
from outbox import append
from outbox.append import Received
from outbox.partitions import name
from runtime.ids import id_at, new_id, time_of
from runtime.sessions import check_writable_async
from schemas.envelope import Event
from tests.waiting import LIMIT, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID


def make_received(provider_event_id: str = "evt_1", **changes: Any) -> Received:
    event = Event(
        id=new_id(),
        topic="webhooks.stripe",
        aggregate_type="payment",
        aggregate_id=changes.pop("key", "pi_1"),
        source="/webhooks/stripe",
        type="com.stripe.payment_intent.succeeded",
        dataschema="urn:tallyhook:com.stripe.event:1",
        occurred_at=datetime.now(UTC),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        data=changes.pop("data", b"\0\xff{}"),
    )
    fields = {"source": "stripe", "type": "payment_intent.succeeded", "secret_id": "1a2b3c4d"}
    return Received(event=event, provider_event_id=provider_event_id, **(fields | changes))


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Intake]:
    intake = Intake(url, **options)
    await intake.open()
    try:
        await intake.until_ready()
        yield intake
    finally:
        await intake.close()


@pytest.fixture
async def intake(database_url: str) -> AsyncIterator[Intake]:
    async with opened(database_url) as running:
        yield running


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


async def values(database: psycopg.AsyncConnection, query: str) -> list[Any]:
    return [row[0] for row in await (await database.execute(query)).fetchall()]


async def until_someone_waits_for_a_lock(database: psycopg.AsyncConnection) -> None:
    async with asyncio.timeout(LIMIT):
        while not await values(database, "select 1 from pg_locks where not granted"):  # noqa: ASYNC110  # Postgres sends no signal for it
            await asyncio.sleep(0)


async def test_an_accepted_webhook_keeps_its_id_and_its_bytes(intake: Intake, database: psycopg.AsyncConnection) -> None:
    received = make_received()
    assert await intake.record(received) == ("accepted", received.event.id)
    assert await values(database, "select id from webhook_deliveries") == [received.event.id]
    assert await values(database, "select data from outbox") == [b"\0\xff{}"]
    assert await values(database, "select event_id from outbox_pending") == [received.event.id]


async def test_an_ignored_one_is_stored_without_a_place_in_the_work_list(
    intake: Intake, database: psycopg.AsyncConnection
) -> None:
    received = make_received(ignored="type_not_handled")
    assert await intake.record(received) == ("ignored", received.event.id)
    assert await values(database, "select id from outbox") == [received.event.id]
    assert await values(database, "select id from outbox_pending") == []


async def test_copies_in_one_batch_name_the_first(intake: Intake, database: psycopg.AsyncConnection) -> None:
    copies = [make_received() for _ in range(5)]
    recorded = await asyncio.gather(*(intake.record(copy) for copy in copies))
    assert recorded == [("accepted", copies[0].event.id)] + [("duplicate", copies[0].event.id)] * 4
    assert sorted(await values(database, "select id from webhook_deliveries")) == [copy.event.id for copy in copies]


def make_of_mode(ignored: str | None) -> Received:
    received = make_received(ignored=ignored)
    return msgspec.structs.replace(received, event=msgspec.structs.replace(received.event, livemode=False))


async def test_wanted_copies_at_once_send_an_event_of_the_other_mode_once(
    database_url: str, intake: Intake, database: psycopg.AsyncConnection
) -> None:
    unwanted = make_of_mode("other_mode")
    assert await intake.record(unwanted) == ("ignored", unwanted.event.id)
    async with opened(database_url) as other:
        copies = (gateway.record(make_of_mode(None)) for _ in range(5) for gateway in (intake, other))
        assert set(await asyncio.gather(*copies)) == {("duplicate", unwanted.event.id)}
    assert await values(database, "select event_id from outbox_pending") == [unwanted.event.id]
    assert await values(database, "select kind from ledger_findings") == ["in_flight"]


@pytest.mark.parametrize("case", ["unwanted copy", "unhandled type", "erased", "marks gone"])
async def test_a_copy_sends_nothing_that_no_worker_would_handle(
    intake: Intake, database: psycopg.AsyncConnection, case: str
) -> None:
    first = make_of_mode("type_not_handled" if case == "unhandled type" else "other_mode")
    await intake.record(first)
    if case == "erased":
        await database.execute("""update outbox set data = '{"erased":{"sha256":"'""")
    if case == "marks gone":
        await database.execute(f"drop table {name('consumed', time_of(first.event.id).date())}")
    copy = make_of_mode("other_mode" if case == "unwanted copy" else None)
    assert await intake.record(copy) == ("duplicate", first.event.id)
    assert await values(database, "select event_id from outbox_pending") == []
    assert sorted(await values(database, "select outcome from webhook_deliveries")) == ["duplicate", "ignored"]


def make_deadlocks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Make the next sendings of unwanted originals end as a deadlock does, after the copies are committed."""
    send, left = append._send_unwanted, iter(range(number))

    async def deadlocked(connection: psycopg.AsyncConnection, originals: Sequence[UUID]) -> None:
        if next(left, None) is not None:
            raise DeadlockDetected
        await send(connection, originals)

    monkeypatch.setattr(append, "_send_unwanted", deadlocked)


async def test_a_deadlock_after_the_commit_of_a_copy_does_not_send_its_batch_again(
    intake: Intake, database: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwanted, new = make_of_mode("other_mode"), make_received("evt_2")
    await intake.record(unwanted)
    make_deadlocks(monkeypatch, 1)
    recorded = await asyncio.gather(intake.record(make_of_mode(None)), intake.record(new))
    assert recorded == [("duplicate", unwanted.event.id), ("accepted", new.event.id)]
    assert sorted(await values(database, "select event_id from outbox_pending")) == [unwanted.event.id, new.event.id]


async def test_a_copy_that_could_not_send_its_original_is_not_acknowledged_and_the_next_one_sends_it(
    intake: Intake, database: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwanted = make_of_mode("other_mode")
    await intake.record(unwanted)
    make_deadlocks(monkeypatch, 2)
    with pytest.raises(GatewayError, match="OperationalError") as refusal:
        await intake.record(make_of_mode(None))
    assert refusal.value.reason == "postgres_unavailable"
    await intake.until_ready()
    assert await intake.record(make_of_mode(None)) == ("duplicate", unwanted.event.id)
    assert await values(database, "select event_id from outbox_pending") == [unwanted.event.id]


async def test_in_an_open_transaction_the_caller_sees_the_deadlock_which_undoes_the_copy(
    intake: Intake, database: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await intake.record(make_of_mode("other_mode"))
    make_deadlocks(monkeypatch, 1)
    with pytest.raises(DeadlockDetected):
        async with database.transaction():
            await append.record(database, [make_of_mode(None)])
    assert await values(database, "select outcome from webhook_deliveries") == ["ignored"]


async def test_the_same_body_under_another_id_is_a_copy_where_ids_are_not_signed(intake: Intake) -> None:
    first = make_received("id_1", source="razorpay", digest=b"same")
    again = make_received("id_2", source="razorpay", digest=b"same")
    elsewhere = make_received("id_3", source="other", digest=b"same")
    assert (await intake.record(first)).outcome == "accepted"
    assert await intake.record(again) == ("duplicate", first.event.id)
    assert (await intake.record(elsewhere)).outcome == "accepted"


async def test_a_copy_that_another_gateway_commits_meanwhile_is_found(
    intake: Intake, database_url: str, database: psycopg.AsyncConnection
) -> None:
    original = new_id()
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("insert into dedup values ('stripe', 'evt_1', %s)", (original,))
        recorded = asyncio.ensure_future(intake.record(make_received()))
        await until_someone_waits_for_a_lock(database)
        await other.commit()
    assert await recorded == ("duplicate", original)
    assert await values(database, "select event_id from webhook_deliveries") == [original]


async def test_a_copy_whose_original_is_rolled_back_becomes_the_original(
    intake: Intake, database_url: str, database: psycopg.AsyncConnection
) -> None:
    received = make_received()
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("insert into dedup values ('stripe', 'evt_1', %s)", (new_id(),))
        recorded = asyncio.ensure_future(intake.record(received))
        await until_someone_waits_for_a_lock(database)
        await other.rollback()
    assert await recorded == ("accepted", received.event.id)


async def test_arrival_is_the_order_of_the_work_list(intake: Intake, database: psycopg.AsyncConnection) -> None:
    batch = [make_received(f"evt_{9 - n}") for n in range(10)]
    await asyncio.gather(*(intake.record(received) for received in batch))
    assert await values(database, "select event_id from outbox_pending order by id") == [received.event.id for received in batch]


async def test_the_relay_is_woken_once_a_batch(intake: Intake, database: psycopg.AsyncConnection) -> None:
    await database.execute("listen outbox")
    await asyncio.gather(*(intake.record(make_received(f"evt_{n}")) for n in range(20)))
    hints = [hint.channel async for hint in database.notifies(timeout=10, stop_after=1)]
    assert hints == ["outbox"]


@pytest.mark.parametrize("bad", [{"key": "pi_\0"}, {"key": "pi_\ud800"}, {"provider_event_id": secrets.token_hex(50_000)}])
async def test_a_bad_row_alone_is_refused(intake: Intake, database: psycopg.AsyncConnection, bad: dict[str, str]) -> None:
    batch = [make_received(f"evt_{n}") for n in range(7)]
    batch[3] = make_received(**({"provider_event_id": "evt_bad"} | bad))
    recorded = await asyncio.gather(*(intake.record(received) for received in batch), return_exceptions=True)
    refused = recorded.pop(3)
    assert isinstance(refused, GatewayError)
    assert refused.reason is Reason.EVENT_UNSTORABLE
    assert {outcome for outcome, _ in recorded} == {"accepted"}  # type: ignore[misc]
    assert await values(database, "select count(*) from outbox") == [6]


async def test_a_cancelled_request_harms_no_other(intake: Intake) -> None:
    hasty, patient = intake.record(make_received("evt_1")), intake.record(make_received("evt_2"))
    hasty.cancel()
    assert (await patient).outcome == "accepted"


async def test_beyond_the_waiting_list_the_next_one_is_refused_at_once(database_url: str) -> None:
    async with opened(database_url, waiting_max=3) as intake:
        waiting = [intake.record(make_received(f"evt_{n}")) for n in range(3)]
        with pytest.raises(GatewayError) as refusal:
            intake.record(make_received("evt_4"))
        assert refusal.value.reason == "intake_full"
        assert {outcome for outcome, _ in await asyncio.gather(*waiting)} == {"accepted"}


async def test_beyond_the_bytes_of_the_waiting_list_likewise_until_they_are_written(database_url: str) -> None:
    async with opened(database_url, waiting_bytes=1000) as intake:
        large = [make_received(f"evt_{n}", data=b"x" * 500) for n in range(3)]
        waiting = [intake.record(received) for received in large[:2]]
        with pytest.raises(GatewayError) as refusal:
            intake.record(large[2])
        assert refusal.value.reason == "intake_full"
        await asyncio.gather(*waiting)
        assert (await intake.record(large[2])).outcome == "accepted"


async def test_closing_commits_waiting_deliveries_and_accepts_no_more(
    database_url: str, database: psycopg.AsyncConnection
) -> None:
    async with opened(database_url, batch_max=10) as intake:
        waiting = [intake.record(make_received(f"evt_{n}")) for n in range(100)]
        await intake.close()
        assert {outcome for outcome, _ in await asyncio.gather(*waiting)} == {"accepted"}
        assert await values(database, "select count(*) from outbox") == [100]
        with pytest.raises(GatewayError) as refusal:
            intake.record(make_received("evt_late"))
        assert refusal.value.reason == "stopping"


async def test_a_killed_connection_is_noticed_while_idle_and_replaced(intake: Intake, database: psycopg.AsyncConnection) -> None:
    lost = asyncio.Event()
    refuse_waiting = intake._refuse_waiting

    def note(reason: Reason, detail: str) -> None:
        lost.set()
        refuse_waiting(reason, detail)

    intake._refuse_waiting = note  # type: ignore[method-assign]
    await intake.record(make_received("evt_1"))
    await database.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tallyhook intake'")
    await asyncio.wait_for(lost.wait(), LIMIT)
    await asyncio.wait_for(intake.until_ready(), LIMIT)
    assert (await intake.record(make_received("evt_2"))).outcome == "accepted"


async def test_an_idle_session_that_became_read_only_is_left(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a change of the server's configuration, or on a host that was demoted."""

    async def check(connection: psycopg.AsyncConnection) -> None:
        await connection.execute("set default_transaction_read_only = on")
        await check_writable_async(connection)

    async def left() -> bool | None:
        return True if metrics.INTAKE_RECONNECTS._value.get() >= before + COMMITS_IN_FLIGHT else None

    async with opened(database_url, limit=timedelta(seconds=1)):
        before = metrics.INTAKE_RECONNECTS._value.get()
        monkeypatch.setattr("gateway.webhooks.intake.check_writable_async", check)
        await eventually(left)


async def test_a_commit_that_hangs_is_refused_and_its_lane_rests_until_postgres_answers(
    database_url: str, database: psycopg.AsyncConnection
) -> None:
    async with (
        opened(database_url, limit=timedelta(seconds=1)) as intake,
        await psycopg.AsyncConnection.connect(database_url) as other,
    ):
        await other.execute("lock table dedup in exclusive mode")
        with pytest.raises(GatewayError) as refusal:
            await intake.record(make_received())
        assert refusal.value.reason == "postgres_unavailable"
        await other.rollback()
        await asyncio.wait_for(intake.until_ready(), LIMIT)
        assert (await intake.record(make_received())).outcome == "accepted"
        assert await values(database, "select count(*) from outbox") == [1]


async def test_two_gateways_with_the_same_copies_do_not_deadlock(database_url: str, database: psycopg.AsyncConnection) -> None:
    async with opened(database_url, batch_max=20) as one, opened(database_url, batch_max=20) as other:
        numbers = range(300)
        recorded = await asyncio.gather(
            *(one.record(make_received(f"evt_{n}")) for n in numbers),
            *(other.record(make_received(f"evt_{n}")) for n in reversed(numbers)),
        )
    assert sorted(outcome for outcome, _ in recorded) == ["accepted"] * 300 + ["duplicate"] * 300
    assert await values(database, "select count(*) from outbox") == [300]
    assert await values(database, "select count(distinct event_id) from webhook_deliveries where outcome = 'duplicate'") == [300]


async def test_only_the_deliveries_of_a_batch_without_a_partition_are_refused(
    intake: Intake, database: psycopg.AsyncConnection
) -> None:
    """Around midnight, and after a clock change, one batch has events of several days."""
    today, later = (make_received(f"evt_{n}") for n in range(2))
    far = id_at(datetime.now(UTC) + timedelta(days=40))
    later = msgspec.structs.replace(later, event=msgspec.structs.replace(later.event, id=far))
    outcomes = await asyncio.gather(intake.record(today), intake.record(later), return_exceptions=True)
    assert outcomes[0] == ("accepted", today.event.id)
    assert isinstance(outcomes[1], GatewayError)
    assert outcomes[1].reason == "partition_missing"
    assert await values(database, "select id from outbox") == [today.event.id]
    assert intake.ready
