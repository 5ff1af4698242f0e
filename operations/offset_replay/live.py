"""The group itself reads again: its offsets are moved back while it has no members, and its workers read the stored range."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from psycopg import Connection

from operations.errors import OperationError, Reason
from operations.offset_replay import log, scan, store
from operations.offset_replay.bounds import End, Moment, Start, Stop
from operations.offset_replay.log import OffsetRange
from operations.offset_replay.plan import Move, Positions, moves_of, stops_of
from operations.offset_replay.scan import Count
from outbox.errors import BrokerError
from outbox.errors import Reason as BrokerReason
from outbox.offsets import Group, Offsets, Place, partition_of
from runtime.ids import new_id
from runtime.kafka import Cluster
from schemas import topology
from streams.replays import Effects

_LOOK_EVERY: Final = 0.5  # seconds

Progress = Callable[[int], object]


class Target(NamedTuple):
    """The worker, and one of its topics."""

    worker: str
    topic: str


class Outlook(NamedTuple):
    """
    The records that would be read again, counted.

    `remembered` events have no mark, but they are in the history of their aggregate, so they do not change it again.
    """

    moves: Sequence[Move]
    counts: Mapping[Place, Count]
    remembered: int = 0

    @property
    def back(self) -> list[Move]:
        """The moves that make the group read at least one record again."""
        return [move for move in self.moves if move.target < move.until]


def check(target: Target) -> None:
    """Check that the worker reads the topic. Raises OperationError `worker_unknown`, `topic_not_read`."""
    known = {worker.name: worker for worker in topology.workers()}
    if target.worker not in known:
        raise OperationError(
            Reason.WORKER_UNKNOWN, f"there is no worker {target.worker!r}; there are: {', '.join(sorted(known))}"
        )
    topics = known[target.worker].consumes
    if target.topic not in topics:
        raise OperationError(Reason.TOPIC_NOT_READ, f"{target.worker} reads {' and '.join(topics)}, not {target.topic!r}")


def read_positions(
    offsets: Offsets, target: Target, start: Start | Stop, unfinished: Mapping[Place, int] | None = None
) -> Positions:
    """Read the offsets of the log and of the group, and those of the bound. Raises BrokerError, OperationError."""
    group = topology.group_of(target.worker)
    seen = offsets.look((target.topic,), (group,))
    if not seen.spans:
        raise OperationError(Reason.TOPIC_MISSING, f"Kafka has no topic {target.topic}: tallyhook topics ensure")
    at = offsets.at(start.at, (target.topic,)) if isinstance(start, Moment) else {}
    return Positions(target.topic, seen.spans, seen.groups[group], at, unfinished or {})


def survey(  # noqa: PLR0917  # the connections and the request, in one call of the command
    offsets: Offsets, kafka: Cluster, connection: Connection, target: Target, start: Start, stop: Stop, progress: Progress
) -> Outlook:
    """Count the records that a replay would read again. Raises BrokerError, OperationError."""
    positions = read_positions(offsets, target, start, store.unfinished(connection, target.worker, target.topic))
    moves = moves_of(start, positions)
    stops = {} if isinstance(stop, End) else stops_of(stop, read_positions(offsets, target, stop))
    ranges = {
        move.place: OffsetRange(
            max(move.target, move.span.begin), min(move.until, move.span.end, stops.get(move.place, move.until))
        )
        for move in moves
    }
    days = store.marked_days(connection)
    batches = log.read(kafka, ranges)
    counts = scan.count(batches, lambda ids: store.marked(connection, target.worker, ids), days, progress)
    scan.refuse_unmarkable(counts, days)
    fresh = {event_id for of in counts.values() for event_id in of.ids}
    return Outlook(moves, counts, store.remembered(connection, fresh))


def begin(kafka: Cluster, connection: Connection, target: Target, outlook: Outlook, effects: Effects) -> UUID:
    """
    Store the ranges for the workers, then move the offsets. In this order no worker reads from moved offsets without the range.

    The ranges stay unless it is certain that no offset has moved. Raises BrokerError, OperationError.
    """
    replay = new_id()
    superseded = store.write(connection, replay, target.worker, outlook.back, effects)
    try:
        move(kafka, topology.group_of(target.worker), {move.place: move.target for move in outlook.back})
    except OperationError:
        store.undo_write(connection, replay, superseded)
        raise
    return replay


def follow(offsets: Offsets, target: Target, moves: Sequence[Move], progress: Callable[[int, Group], object]) -> datetime:
    """Wait until the group has read everything again; `progress` gets the number of records read, and the group."""
    while True:
        group = offsets.group(topology.group_of(target.worker), (target.topic,))
        read = sum(min(group.committed.get(move.place, 0), move.until) - move.target for move in moves)
        progress(max(0, read), group)
        if read >= sum(move.until - move.target for move in moves):
            return datetime.now(UTC)
        time.sleep(_LOOK_EVERY)


_LIMIT: Final = 15.0  # seconds
_LIVE: Final = {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP, KafkaError.GROUP_SUBSCRIBED_TO_TOPIC}


def move(kafka: Cluster, group: str, offsets: Mapping[Place, int]) -> None:
    """
    Move the group to these offsets. Kafka refuses this while the group has members, even if they joined after our check.

    Raises OperationError with reason `group_live` if nothing has moved, and BrokerError if it is unknown what has.
    """
    admin = AdminClient(kafka.client | {"log_level": 0})
    places = [partition_of(kafka, place, offset) for place, offset in offsets.items()]
    wanted = ConsumerGroupTopicPartitions(kafka.named(group), places)
    future: Any = admin.alter_consumer_group_offsets([wanted], request_timeout=_LIMIT)[wanted.group_id]
    try:
        moved = future.result(_LIMIT)
    except KafkaException as error:
        raise _failure(group, error.args[0]) from error
    except FutureTimeout as error:
        raise BrokerError(BrokerReason.KAFKA_UNAVAILABLE, _unknown(f"no answer within {_LIMIT:g} s", group)) from error
    for partition in moved.topic_partitions:
        if partition.error is not None:
            raise _failure(group, partition.error, f"partition {partition.partition}: ")


def _failure(group: str, error: KafkaError, of: str = "") -> OperationError | BrokerError:
    if error.code() in _LIVE:  # the coordinator refuses the whole request
        return OperationError(Reason.GROUP_LIVE, f"{group} has members again: stop its workers, then repeat the command")
    local = error.code() < 0  # the client's own codes: transport, time-out
    return BrokerError(
        BrokerReason.KAFKA_UNAVAILABLE if local else BrokerReason.KAFKA_REFUSED, _unknown(f"{of}{error.str()}", group)
    )


def _unknown(failure: str, group: str) -> str:
    return f"{failure}. It is unknown which offsets of {group} have moved: repeat the command before you start a worker"
