"""The ledger counts both sides of everything received, and reports a difference; the sweep finds events that stay in flight."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import pytest
from psycopg import AsyncConnection

from operations.errors import OperationError
from operations.ledger import books as ledger
from operations.ledger.books import SourceLedger
from operations.ledger.loop import InFlight, Place, sweep
from operations.ledger.states import OF_SPAN, SETTLED_BY, end_of_ids, plan_for_spans, span_values
from operations.webhook_replay import store as replay_work
from outbox.append import append
from outbox.sending import follow_again
from runtime.ids import first_id_of, new_id
from runtime.tracing import new_trace
from schemas.envelope import Event
from streams.roles import ROLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from operations.ledger.books import SourceLedger

FIGURES: Final = ("received", "rejected", "duplicates", "ignored", "processed", "in_flight", "dead_lettered")
GRACE: Final = timedelta(minutes=5)
STRIPE: Final = Place("stripe")


class Books:
    """Writes the rows of gateway, relay and workers, and reads the ledger of today."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    async def take(
        self, source: str = "stripe", outcome: str = "accepted", *, at: datetime | None = None, endpoint: str | None = None
    ) -> UUID:
        """A delivery with its event, as intake leaves it."""
        event_id = id_at(at) if at else new_id()
        async with self.connection.transaction():
            await append(self.connection, [event(event_id, source, endpoint)])
            if outcome == "ignored":
                await self.relay(event_id)
            await self.note(source, outcome, event_id, endpoint)
        return event_id

    async def note(self, source: str, outcome: str, delivery_id: UUID | None = None, endpoint: str | None = None) -> None:
        reason = "signature_wrong" if outcome == "rejected" else None
        await self.connection.execute(
            "insert into webhook_deliveries (id, source, outcome, reason, trace_id, endpoint) values (%s, %s, %s, %s, '', %s)",
            (delivery_id or new_id(), source, outcome, reason, endpoint),
        )

    async def relay(self, event_id: UUID) -> None:
        await self.connection.execute("delete from outbox_pending where event_id = %s", (event_id,))

    async def park(self, event_id: UUID) -> None:
        query = "update outbox_pending set parked_at = now(), reason = 'record_too_large' where event_id = %s"
        await self.connection.execute(query, (event_id,))

    async def mark(self, event_id: UUID, consumer: str = "payments") -> None:
        await self.relay(event_id)
        await self.connection.execute("insert into consumed (event_id, consumer) values (%s, %s)", (event_id, consumer))

    async def set_aside(self, event_id: UUID, status: str = "open") -> None:
        await self.mark(event_id)
        await self.connection.execute(
            """insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers, event_id, status,
                                         settled_at, discard_reason)
               values (%s, 'payments', 'handler_failed', '', '', 0, (select count(*) from dead_letters), '[]', %s, %s, %s, %s)""",
            (
                new_id(), event_id, status, None if status == "open" else datetime.now(UTC),
                "no use" if status == "discarded" else None,
            ),
        )  # fmt: skip

    async def read(self) -> ledger.Ledger:
        now = datetime.now(UTC)
        return await ledger.read(self.connection, now - timedelta(hours=1), end_of_ids(now))

    async def of(self, source: str) -> SourceLedger:
        return next(figures for figures in (await self.read()).sources if figures.source == source)

    async def of_day(self, source: str) -> SourceLedger:
        now = datetime.now(UTC)
        found = await ledger.read(self.connection, now - timedelta(days=1), end_of_ids(now))
        return next(figures for figures in found.sources if figures.source == source)

    async def break_(self, table: str, event_id: UUID) -> None:
        await self.connection.execute(f"delete from {table} where id = %s", (event_id,))

    async def alerts(self) -> list[tuple[str, str]]:
        rows = await (
            await self.connection.execute("select data from outbox where topic = 'alert.events' order by id")
        ).fetchall()
        return [(alert["alert"], alert["subject"]) for alert in (json.loads(row[0]) for row in rows)]


def event(event_id: UUID, source: str, endpoint: str | None = None) -> Event:
    return Event(
        id=event_id, topic=f"webhooks.{source}", aggregate_type="payment", aggregate_id="pi_1", source=f"/webhooks/{source}",
        type="com.stripe.charge.refunded", dataschema="urn:tallyhook:com.stripe.event:1", occurred_at=datetime.now(UTC),
        traceparent=new_trace().traceparent, data=b"{}", endpoint=endpoint,
    )  # fmt: skip


def id_at(moment: datetime) -> UUID:
    """Return a unique id of that moment."""
    fresh = new_id()
    return type(fresh)(int=first_id_of(moment).int | fresh.int & (1 << 80) - 1)


def figures(found: SourceLedger) -> tuple[int, ...]:
    return tuple(getattr(found, name) for name in FIGURES)


@pytest.fixture
async def books(database_url: str) -> AsyncIterator[Books]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield Books(connection)


async def test_every_delivery_is_in_exactly_one_figure(books: Books) -> None:
    for outcome in ("rejected", "rejected", "duplicate"):
        await books.note("stripe", outcome)
    await books.take("stripe", "ignored")
    await books.mark(await books.take())
    await books.take()
    await books.relay(await books.take())
    await books.park(await books.take())
    await books.set_aside(await books.take())
    await books.set_aside(await books.take(), "discarded")
    found = await books.read()
    assert found.balanced
    stripe = await books.of("stripe")
    assert figures(stripe) == (10, 2, 1, 1, 1, 2, 3)
    assert (stripe.waiting_for_kafka, stripe.parked, stripe.discarded) == (1, 1, 1)
    assert [source.source for source in found.sources] == ["partner", "razorpay", "stripe"]
    assert figures(await books.of("partner")) == (0,) * 7


async def test_a_letter_that_is_retried_is_in_flight_and_then_processed(books: Books) -> None:
    event_id = await books.take()
    await books.set_aside(event_id, "retried")
    await books.connection.execute("delete from consumed")
    assert figures(await books.of("stripe")) == (1, 0, 0, 0, 0, 1, 0)
    await books.mark(event_id)
    assert figures(await books.of("stripe")) == (1, 0, 0, 0, 1, 0, 0)


async def test_only_the_consumer_of_a_source_settles_its_webhooks(books: Books) -> None:
    await books.mark(await books.take("partner"), "payments")
    await books.mark(await books.take("razorpay"), "leads")
    assert figures(await books.of("partner")) == figures(await books.of("razorpay")) == (1, 0, 0, 0, 0, 1, 0)
    await books.mark(await books.take("partner"), "leads")
    assert (await books.of("partner")).processed == 1


async def test_a_webhook_that_was_ignored_and_later_replayed_is_processed(books: Books) -> None:
    await books.mark(await books.take("stripe", "ignored"))
    assert figures(await books.of("stripe")) == (1, 0, 0, 0, 1, 0, 0)


async def test_a_rejected_delivery_that_was_verified_later_counts_twice(books: Books) -> None:
    await books.note("stripe", "rejected")
    await books.mark(await books.take())
    await books.connection.execute("update webhook_deliveries set recovered_as = gen_random_uuid() where outcome = 'rejected'")
    stripe = await books.of("stripe")
    assert (figures(stripe), stripe.recovered, stripe.balanced) == ((2, 1, 0, 0, 1, 0, 0), 1, True)


@pytest.mark.parametrize(("table", "what"), [("outbox", "missing"), ("webhook_deliveries", "unlogged")])
async def test_a_row_that_is_lost_on_either_side_breaks_the_balance_and_is_named(books: Books, table: str, what: str) -> None:
    await books.mark(await books.take())
    lost = await books.take()
    await books.mark(lost)
    assert (await books.read()).balanced
    await books.break_(table, lost)
    found = await books.read()
    assert not found.balanced
    assert [(each.source, each.id, each.what) for each in found.unexplained] == [("stripe", lost, what)]


async def test_two_faults_that_cancel_out_are_still_seen(books: Books) -> None:
    await books.break_("outbox", await books.take())
    await books.break_("webhook_deliveries", await books.take())
    stripe = await books.of("stripe")
    assert (stripe.received, stripe.in_flight) == (1, 1)
    assert not stripe.balanced


async def test_rejected_deliveries_beyond_the_bound_are_counted_by_the_hour(books: Books) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await books.connection.execute(
        "insert into rejected_quota values ('stripe', %s, 200, 1234), ('partner', %s, 3, 0)", (hour, hour)
    )
    [refused] = (await books.read()).not_kept
    assert (refused.source, refused.rejected, refused.to_hour) == ("stripe", 1234, hour + timedelta(hours=1))
    assert (await books.of("stripe")).received == 0


async def test_a_time_past_retention_is_clipped_or_refused(books: Books) -> None:
    now = datetime.now(UTC)
    found = await ledger.read(books.connection, now - timedelta(days=60), now)
    assert found.clipped
    assert found.from_ == await ledger.kept_from(books.connection)
    for begin, end, reason in (
        (now - timedelta(days=60), now - timedelta(days=50), "period_not_kept"),
        (now, now - timedelta(hours=1), "period_malformed"),
    ):
        with pytest.raises(OperationError) as refused:
            await ledger.read(books.connection, begin, end)
        assert refused.value.reason == reason


async def test_a_day_that_one_table_has_dropped_already_is_not_covered(books: Books) -> None:
    kept = await ledger.kept_from(books.connection)
    await books.connection.execute(f"drop table outbox_{kept:%Y%m%d}")
    assert await ledger.kept_from(books.connection) == kept + timedelta(days=1)


async def test_a_day_that_a_pending_event_keeps_does_not_count_for_the_days_after_it(books: Books) -> None:
    cutoff = await ledger.kept_from(books.connection) + timedelta(days=2)  # the days before are detached, but for the first
    await books.connection.execute("delete from retention_cutoffs where kind = 'days'")
    await books.connection.execute("insert into retention_cutoffs (kind, cutoff, moved_at) values ('days', %s, now())", (cutoff,))
    found = await ledger.read(books.connection, cutoff - timedelta(days=2), datetime.now(UTC))
    assert (found.from_, found.clipped) == (cutoff, True)


async def test_commands_are_counted_by_their_outcome(books: Books) -> None:
    query = "insert into tasks (id, kind, status, settled_at, reason) values (%s, 'cache.invalidate', %s, %s, %s)"
    await books.connection.execute(query, (new_id(), "pending", None, None))
    await books.connection.execute(query, (new_id(), "failed", datetime.now(UTC), "handler_failed"))
    assert [msgspec.structs.astuple(each) for each in (await books.read()).commands] == [("cache.invalidate", 1, 0, 1)]


def test_every_source_is_settled_by_a_worker_that_reads_its_topic() -> None:
    topics = {"stripe": "webhooks.stripe", "razorpay": "webhooks.razorpay", "partner": "lead.partner.events"}
    assert topics.keys() == SETTLED_BY.keys()
    assert all(topics[source] in ROLES[consumer].topics for source, consumer in SETTLED_BY.items())


async def test_an_event_that_stays_in_flight_is_found_reported_once_and_forgotten_when_it_arrives(books: Books) -> None:
    now = datetime.now(UTC)
    old = now - timedelta(minutes=10)
    stuck, young = await books.take(at=old), await books.take(at=now - timedelta(minutes=1))
    await books.mark(await books.take(at=old))
    for event_id in (stuck, young):
        await books.relay(event_id)
    for _ in range(2):
        swept = await sweep(books.connection, GRACE, now)
        assert swept.in_flight == {STRIPE: InFlight(2, 1, swept.in_flight[STRIPE].oldest)}
        assert abs(swept.in_flight[STRIPE].oldest - old) < timedelta(milliseconds=2)
    assert await books.alerts() == [("webhooks_unsettled", "stripe")]
    for event_id in (stuck, young):
        await books.mark(event_id)
    assert (await sweep(books.connection, GRACE, now)).in_flight == {}


async def test_rows_without_their_other_half_are_found_and_reported(books: Books) -> None:
    now = datetime.now(UTC)
    for table, source in (("outbox", "stripe"), ("webhook_deliveries", "partner")):
        event_id = await books.take(source, at=now - timedelta(minutes=10))
        await books.break_(table, event_id)
        await books.relay(event_id)
    swept = await sweep(books.connection, GRACE, now)
    assert swept.unbalanced == {STRIPE: 1, Place("partner"): 1}
    assert await books.alerts() == [("ledger_unbalanced", "partner"), ("ledger_unbalanced", "stripe")]


async def test_each_endpoint_is_followed_and_reported_by_its_name(books: Books) -> None:
    now = datetime.now(UTC)
    old = now - timedelta(minutes=10)
    await books.take(at=old)
    for endpoint in ("eu", "eu", "us"):
        await books.take(at=old, endpoint=endpoint)
    await books.take(at=now, endpoint="us")
    await books.break_("webhook_deliveries", await books.take(at=old, endpoint="connect"))
    swept = await sweep(books.connection, GRACE, now)
    assert {place.name: each[:2] for place, each in swept.in_flight.items()} == {
        "stripe": (1, 1),
        "stripe/eu": (2, 2),
        "stripe/us": (2, 1),
    }
    assert swept.unbalanced == {Place("stripe", "connect"): 1}
    unsettled = [("webhooks_unsettled", place) for place in ("stripe", "stripe/eu", "stripe/us")]
    assert await books.alerts() == [*unsettled, ("ledger_unbalanced", "stripe/connect")]


async def test_a_parked_webhook_is_no_second_alert_until_it_is_on_its_way_again(books: Books) -> None:
    now = datetime.now(UTC)
    event_id = await books.take(at=now - timedelta(minutes=10))
    await books.park(event_id)
    assert (await sweep(books.connection, GRACE, now)).in_flight == {}
    await books.connection.execute("update outbox_pending set parked_at = null, reason = null")
    assert (await sweep(books.connection, GRACE, now)).in_flight[STRIPE].overdue == 1


async def test_swept_rows_are_not_read_again_unless_they_are_expected(books: Books) -> None:
    now = datetime.now(UTC)
    event_id = await books.take(at=now - timedelta(hours=2))
    await books.mark(event_id)
    await sweep(books.connection, GRACE, now)
    await books.connection.execute("delete from consumed")
    assert (await sweep(books.connection, GRACE, now)).in_flight == {}
    await follow_again(books.connection, [event_id])
    later = now + timedelta(minutes=6)
    assert (await sweep(books.connection, GRACE, now)).in_flight[STRIPE].overdue == 0
    assert (await sweep(books.connection, GRACE, later)).in_flight[STRIPE].overdue == 1


async def test_findings_of_different_days_are_followed_until_each_is_settled(books: Books) -> None:
    now = datetime.now(UTC)
    old, young = await books.take(at=now - timedelta(days=2)), await books.take(at=now - timedelta(minutes=10))
    for number, event_id in ((2, young), (1, old)):
        assert (await sweep(books.connection, GRACE, now)).in_flight[STRIPE].overdue == number
        await books.mark(event_id)
    assert (await sweep(books.connection, GRACE, now)).in_flight == {}


async def test_an_ignored_webhook_that_a_replay_sends_on_its_way_is_followed(books: Books) -> None:
    now = datetime.now(UTC)
    event_id = await books.take("stripe", "ignored", at=now - timedelta(hours=2))
    await sweep(books.connection, GRACE, now)
    kept = replay_work.StoredDelivery(event_id, "stripe", outcome="ignored", event_id=event_id, n=1)
    async with books.connection.transaction():
        await replay_work.send(books.connection, new_id(), [kept])
    assert figures(await books.of_day("stripe")) == (1, 0, 0, 0, 0, 1, 0)
    assert (await sweep(books.connection, GRACE, now + timedelta(minutes=6))).in_flight[STRIPE].overdue == 1


async def test_a_sweep_that_was_made_by_a_wrong_clock_holds_up_no_later_one(books: Books) -> None:
    now = datetime.now(UTC)
    await books.connection.execute("insert into ledger_sweeps (swept_to) values (%s)", (now + timedelta(days=40),))
    await books.take(at=now - timedelta(minutes=10))
    assert (await sweep(books.connection, GRACE, now)).in_flight[STRIPE].overdue == 1


async def test_a_span_is_joined_by_hash_whatever_postgres_knows_of_it(books: Books) -> None:
    for _ in range(20):
        await books.mark(await books.take())

    async def plan() -> str:
        values = span_values(datetime.now(UTC) - GRACE, end_of_ids(datetime.now(UTC)))
        rows = await (await books.connection.execute(f"explain select * from {OF_SPAN}", values)).fetchall()
        return "\n".join(row[0] for row in rows)

    assert "Nested Loop" in await plan()
    async with books.connection.transaction():
        await plan_for_spans(books.connection)
        assert "Nested Loop" not in await plan()
    assert "Nested Loop" in await plan()
