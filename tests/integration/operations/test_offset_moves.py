"""Moves of offsets whose outcome is unknown, and workers that start while a command is still at work."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from operations.errors import OperationError, Reason
from operations.offset_replay import live
from operations.offset_replay.bounds import End, Numbers
from operations.offset_replay.plan import Move
from outbox.errors import BrokerError
from outbox.offsets import Offsets, Place, Span
from runtime.database import make_pool
from streams.replays import after_replays
from tests.integration.operations.replaying import STRIPE, World, envelope, lives

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runtime.kafka import Cluster

TARGET: Final = live.Target("payments", STRIPE)
OPEN: Final = "select partition, from_offset, until_offset from offset_replays where finished_at is null order by 1"


class AnswerLost(AdminClient):
    """Kafka moves the offsets, and its answer does not arrive."""

    def alter_consumer_group_offsets(self, *arguments: Any, **settings: Any) -> Any:
        moving: Any = super().alter_consumer_group_offsets(*arguments, **settings)
        [(group, moved)] = moving.items()
        moved.result(20)
        lost: Future[Any] = Future()
        lost.set_exception(FutureTimeout())
        return {group: lost}


@pytest.fixture
def world(kafka_topics: Cluster, database_url: str) -> World:
    return World(kafka_topics, database_url)


@pytest.fixture
def begin(world: World) -> dict[Place, int]:
    """The places of events that the group has read."""
    found = world.ends()
    world.produce(map(envelope, lives(10, seed=1)))
    world.commit("payments", world.ends())
    return found


def outlook_of(world: World, begin: Mapping[Place, int]) -> live.Outlook:
    start = Numbers({place.partition: offset for place, offset in begin.items()})
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        return live.survey(Offsets(world.cluster), world.cluster, connection, TARGET, start, End(), lambda _: None)


def move(world: World, outlook: live.Outlook) -> None:
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        live.begin(world.cluster, connection, TARGET, outlook, "suppressed")


async def held(world: World) -> bool:
    """Report whether a worker that starts now may not send yet."""
    async with make_pool(world.database_url, size=1, name="test") as pool:
        return await after_replays("payments", pool, world.cluster)() > 0


def rows_of(moves: Sequence[Move]) -> list[dict[str, int]]:
    return [{"partition": m.place.partition, "from_offset": m.target, "until_offset": m.until} for m in moves]


def test_a_move_whose_answer_is_lost_keeps_its_ranges_and_can_be_repeated(
    world: World, begin: dict[Place, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outlook_of(world, begin)
    with monkeypatch.context() as patched:
        patched.setattr(live, "AdminClient", AnswerLost)
        with pytest.raises(BrokerError, match="It is unknown which offsets of tallyhook-payments have moved: repeat") as failed:
            move(world, first)
    assert failed.value.reason == "kafka_unavailable"
    assert world.committed("payments") == begin
    assert world.rows(OPEN) == rows_of(first.back)
    again = outlook_of(world, begin)
    assert [each.until for each in again.back] == [each.until for each in first.back]
    move(world, again)
    assert world.rows(OPEN) == rows_of(first.back)
    world.read_on()
    assert world.rows("select * from outbox where type = 'notification.send'") == []
    assert world.rows(OPEN) == []


def test_a_move_that_one_partition_refuses_keeps_its_ranges(world: World, begin: dict[Place, int]) -> None:
    found = outlook_of(world, begin)
    unknown = Move(Place(STRIPE, 99), Span(0, 1), 1, 0, 1)
    with pytest.raises(BrokerError, match=r"^partition 99: .+ repeat the command before you start a worker") as failed:
        move(world, found._replace(moves=[*found.moves, unknown]))
    assert failed.value.reason == "kafka_refused"
    assert world.committed("payments") == begin
    assert world.rows(OPEN) == rows_of([*found.back, unknown])


def test_a_move_that_a_live_group_refuses_leaves_no_range(
    world: World, begin: dict[Place, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = outlook_of(world, begin)

    def refuse(*_: object) -> None:
        raise OperationError(Reason.GROUP_LIVE, "a worker has joined")

    monkeypatch.setattr(live, "move", refuse)
    with pytest.raises(OperationError, match="a worker has joined"):
        move(world, found)
    assert world.rows("select * from offset_replays") == []


def test_a_worker_that_starts_before_the_offsets_move_does_not_close_the_range(
    world: World, begin: dict[Place, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, moved, seen = outlook_of(world, begin), live.move, []

    def start_a_worker(kafka: Cluster, group: str, offsets: Mapping[Place, int]) -> None:
        seen.append(asyncio.run(held(world)))
        moved(kafka, group, offsets)

    monkeypatch.setattr(live, "move", start_a_worker)
    move(world, found)
    assert seen == [True]
    assert world.rows(OPEN) == rows_of(found.back)


def test_a_range_of_a_command_that_died_before_the_move_is_closed_after_a_minute(
    world: World, begin: dict[Place, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(live, "move", die)
    with pytest.raises(KeyboardInterrupt):
        move(world, outlook_of(world, begin))
    assert world.rows(OPEN) != []
    assert asyncio.run(held(world))
    world.change("update offset_replays set created_at = created_at - interval '1 minute'")
    assert not asyncio.run(held(world))
    assert world.rows(OPEN) == []


def test_a_moved_group_is_held_until_it_has_read_again(world: World, begin: dict[Place, int]) -> None:
    move(world, outlook_of(world, begin))
    world.change("update offset_replays set created_at = created_at - interval '1 minute'")
    assert asyncio.run(held(world))
    world.read_on()
    assert not asyncio.run(held(world))
