"""While Kafka does not accept a topic, one row of it at a time is tried; the others follow in order once it is accepted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError

from outbox import held, relay_session, relay_store
from outbox.acknowledged import AcknowledgedOffsets
from outbox.held import RETRY, UNKNOWN_MAX
from outbox.publisher import Batch
from outbox.relay_session import Session, pause_after
from outbox.relay_store import Pending
from outbox.rights import MISSING
from outbox.settings import RelaySettings
from tests.unit.outbox.test_held import Clock, row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from outbox.relay_store import PendingRow, Room


ACKNOWLEDGED: Any = SimpleNamespace(partition=lambda: 0, offset=lambda: None)


class Outbox:
    """The pending rows."""

    def __init__(self, rows: Sequence[PendingRow]) -> None:
        self.rows = [*rows]
        self.reads = 0

    def read(self, _: Any, __: Any, passed: Sequence[int], room: Room) -> Pending:
        self.reads += 1
        return Pending([each for each in self.rows if each.id not in passed][: room.rows], [])

    def forget(self, _: Any, ids: Sequence[int]) -> None:
        self.rows = [each for each in self.rows if each.id not in ids]


class Kafka:
    """Acknowledges or refuses the batches in flight when a test polls it, by the current rights; keeps the accepted ones."""

    silent = False

    def __init__(self) -> None:
        self.offsets = AcknowledgedOffsets()
        self.forbidden = {"forbidden"}
        self.refusal = KafkaError.TOPIC_AUTHORIZATION_FAILED
        self.sent: list[int] = []
        self.taken: list[int] = []
        self.under_way: list[Batch] = []
        self.most: list[list[int]] = []
        """The ids of the forbidden topic in flight after each batch."""

    def send(self, rows: Sequence[PendingRow], check: Callable[[], None]) -> Batch:
        check()
        batch = Batch(rows, self.offsets)
        self.sent += [each.id for each in rows]
        self.under_way.append(batch)
        self.most.append([each.id for it in self.under_way for each in it.rows if each.event.topic == "forbidden"])
        return batch

    def settle(self, batch: Batch, _: Callable[[], bool]) -> bool:
        for place, each in enumerate(batch.rows):
            if each.event.topic in self.forbidden:
                batch.refuse(place, KafkaError(self.refusal), alone=False)
            else:
                batch.report(place, None, ACKNOWLEDGED)
                self.taken.append(each.id)
        self.under_way.remove(batch)
        return True

    def renew(self) -> None:
        self.under_way.clear()


class Bench:
    def __init__(self, rows: Sequence[PendingRow], batch: int) -> None:
        self.outbox, self.kafka = Outbox(rows), Kafka()
        self.parked: list[tuple[int, str]] = []
        self.beats = self.asked_after = 0
        settings = RelaySettings.load(
            {"DATABASE_URL": "postgresql://h/d", "KAFKA_BOOTSTRAP_SERVERS": "k:1", "RELAY_BATCH": str(batch)}
        )
        lease: Any = SimpleNamespace(beat=self._beat, check=lambda: None, connection=None)
        ahead: Any = SimpleNamespace(take=lambda: None, start=lambda *_: None)
        self.stop: Any = SimpleNamespace(requested=False)
        made: Any = self.kafka
        self.session = Session(lease, lease, ahead, settings=settings, publisher=made, stop=self.stop)

    def _beat(self) -> None:
        self.beats += 1
        if self.asked_after and self.beats > self.asked_after:
            self.stop.requested = True

    def park(self, _: Any, refused: PendingRow, reason: str, __: str) -> None:
        self.parked.append((refused.id, reason))
        self.outbox.forget(None, [refused.id])

    def turns(self, number: int) -> None:
        for _ in range(number):
            self.session.run_once()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(held, "now", clock)
    return clock


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    def made(rows: Sequence[PendingRow], batch: int = 2) -> Bench:
        bench = Bench(rows, batch)
        monkeypatch.setattr(relay_store, "read_pending", bench.outbox.read)
        monkeypatch.setattr(relay_store, "delete", bench.outbox.forget)
        monkeypatch.setattr(relay_session, "park_refused", bench.park)
        return bench

    return made


def test_small_batches_wait_for_company_and_large_ones_do_not() -> None:
    assert [pause_after(sent) for sent in (0, 1, 50, 2000)] == [0.0, pytest.approx(0.0002), 0.0, 0.0]
    assert all(pause_after(sent) <= 0.01 for sent in range(60))


def test_once_nothing_more_is_found_and_all_is_acknowledged_no_further_read_is_made(make: Callable[..., Bench]) -> None:
    bench = make([row(n, "allowed") for n in range(1, 4)])
    while not bench.session._may_rest:
        bench.turns(1)
    assert (bench.kafka.taken, bench.outbox.rows) == ([1, 2, 3], [])
    assert bench.outbox.reads == 3  # the last of them found nothing


def test_a_relay_without_shards_reads_nothing_and_rests(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    read_pending = relay_store.read_pending
    bench = make([row(1, "allowed")])
    monkeypatch.setattr(relay_store, "read_pending", read_pending)
    assert bench.session.shards.owned == []
    bench.turns(1)  # the connection of these tests refuses every statement
    assert (bench.kafka.sent, bench.session._may_rest) == ([], True)


def test_a_read_ahead_that_found_nothing_does_not_hide_later_rows(make: Callable[..., Bench]) -> None:
    bench = make([row(1, "allowed")])
    bench.session._ahead.take = lambda: Pending([], [])  # type: ignore[method-assign]
    bench.turns(1)
    assert bench.kafka.sent == [1]
    assert not bench.session._may_rest


def test_a_topic_that_is_held_makes_the_others_wait_for_nothing(make: Callable[..., Bench], clock: Clock) -> None:
    bench = make([row(1, "forbidden"), row(2, "allowed")])
    counts = [bench.session.run_once() for _ in range(3)]
    assert [(each.resent, each.postponed) for each in counts] == [(0, 0), (1, 0), (0, 0)]
    clock.now += RETRY
    bench.outbox.rows.insert(0, row(0, "allowed"))  # the try reads this row instead of its own
    bench.session.run_once()
    assert not bench.session._may_rest


def test_after_a_refusal_that_may_pass_by_itself_the_relay_pauses(make: Callable[..., Bench]) -> None:
    bench = make([row(1, "allowed")])
    bench.turns(1)
    [batch] = bench.kafka.under_way
    bench.kafka.settle = lambda *_: batch.refuse(0, KafkaError(KafkaError._MSG_TIMED_OUT), alone=True) or True  # type: ignore[method-assign,func-returns-value]
    counts = bench.session.run_once()
    assert (counts.resent, counts.postponed) == (1, 1)


def test_a_try_sends_one_row_and_the_others_follow_in_order_once_it_is_accepted(make: Callable[..., Bench], clock: Clock) -> None:
    bench = make([row(n, "forbidden") for n in range(1, 10)])
    bench.turns(4)
    for _ in range(3):
        clock.now += RETRY
        bench.kafka.most.clear()
        bench.turns(4)
        assert bench.kafka.most == [[1]]
    bench.kafka.forbidden.clear()
    bench.turns(4)
    assert bench.kafka.taken == []  # until the next try
    clock.now += RETRY
    bench.kafka.most.clear()
    bench.turns(12)
    assert bench.kafka.most[0] == [1]
    assert bench.kafka.taken == [*range(1, 10)]


def test_no_row_overtakes_another_if_a_right_is_granted_between_two_requests(make: Callable[..., Bench], clock: Clock) -> None:
    bench = make([row(n, "forbidden") for n in range(1, 10)])
    bench.turns(4)
    clock.now += RETRY
    bench.session.run_once()  # it is refused
    bench.kafka.forbidden.clear()
    bench.turns(4)
    assert bench.kafka.taken == []
    clock.now += RETRY
    bench.turns(12)
    assert bench.kafka.taken == [*range(1, 10)]


def test_a_refused_try_takes_nothing_of_other_topics_back(make: Callable[..., Bench], clock: Clock) -> None:
    bench = make([row(1, "forbidden"), row(2, "allowed"), row(3, "forbidden")])
    bench.turns(4)
    clock.now += RETRY
    bench.outbox.rows += [row(n, "allowed") for n in range(4, 12)]
    bench.kafka.sent.clear()
    bench.turns(12)
    assert bench.kafka.taken == [2, *range(4, 12)]
    assert bench.kafka.sent == [1, *range(4, 12)]


def test_a_topic_that_kafka_does_not_know_for_a_moment_loses_no_order_and_nothing_is_parked(
    make: Callable[..., Bench], clock: Clock
) -> None:
    bench = make([row(1, "forbidden"), row(2, "allowed"), *(row(n, "forbidden") for n in range(3, 10))])
    bench.kafka.refusal = KafkaError._UNKNOWN_TOPIC
    bench.turns(4)
    bench.kafka.forbidden.clear()
    bench.turns(4)
    assert bench.kafka.taken == [2]
    clock.now += RETRY
    bench.turns(12)
    assert bench.kafka.taken == [2, 1, *range(3, 10)]
    assert (bench.outbox.rows, bench.parked) == ([], [])


def test_rows_of_a_topic_that_kafka_has_not_known_for_a_minute_are_parked_without_further_tries(
    make: Callable[..., Bench], clock: Clock
) -> None:
    bench = make([row(n, "forbidden") for n in range(1, 6)])
    bench.kafka.refusal = KafkaError.UNKNOWN_TOPIC_OR_PART
    bench.turns(4)
    for _ in range(int(UNKNOWN_MAX / RETRY) - 1):
        clock.now += RETRY
        bench.turns(4)
    assert bench.parked == []
    clock.now += RETRY
    bench.turns(12)
    assert bench.parked == [(n, "topic_unknown") for n in range(1, 6)]


def test_each_topic_has_its_own_try(make: Callable[..., Bench], clock: Clock) -> None:
    bench = make([row(1, "forbidden"), row(2, "forbidden"), row(3, "secret"), row(4, "secret")], 4)
    bench.kafka.forbidden.add("secret")
    bench.turns(4)
    bench.kafka.forbidden.remove("secret")
    clock.now += RETRY
    bench.turns(6)
    assert bench.kafka.taken == [3, 4]


@pytest.mark.usefixtures("clock")
def test_while_going_through_held_rows_the_loop_beats_and_can_be_ended(make: Callable[..., Bench]) -> None:
    bench = make([row(n, "forbidden") for n in range(1, 50)], 1)
    bench.session._held.hold("forbidden", MISSING)
    bench.asked_after = 10
    bench.session.run_once()
    assert (bench.beats, len(bench.session._held.ids)) == (11, 10)


def test_rows_read_one_by_one_come_before_a_try_unless_too_many_are_held(
    make: Callable[..., Bench], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make([row(1, "forbidden"), *(row(n, "allowed") for n in range(2, 6))], 4)
    bench.session._held.hold("forbidden", MISSING)
    bench.session._one_by_one_up_to = 4
    bench.session.run_once()
    clock.now += RETRY
    bench.kafka.most.clear()
    bench.session.run_once()
    assert (bench.kafka.most, bench.kafka.taken) == ([[]], [2, 3])
    monkeypatch.setattr(held, "_ROWS_MAX", 1)
    bench.session.run_once()
    assert bench.kafka.most[1:] == [[1]]
