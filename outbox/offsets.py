"""
The beginnings and ends of Kafka's partitions, and the committed offsets of groups, read in at most three rounds of calls.

Every call blocks, within the given limit; an event loop makes it in a thread.
"""

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # public, but for its stubs

from outbox.errors import BrokerError, Reason
from outbox.faults import Faults
from runtime.kafka import Cluster

_MOVING: Final = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
"""Brokers return these errors for a while; librdkafka marks only some of them as retriable."""

T = TypeVar("T")

_EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the library leaves these untyped
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # same

LIMIT: Final = timedelta(seconds=5)


class Place(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Span(NamedTuple):
    """The offsets of a partition from `begin` up to, but not including, `end`, which is the offset of its next record."""

    begin: int
    end: int

    def lag(self, committed: int | None) -> int:
        """Return the number of records after a commit: all of them if nothing was committed, or something before `begin`."""
        return max(0, self.end - max(self.begin, self.begin if committed is None else committed))


class Member(NamedTuple):
    """One consumer of a group, with its assigned partitions."""

    id: str
    client: str
    host: str
    places: tuple[Place, ...]


class Group(NamedTuple):
    """
    A consumer group, as its coordinator reports it.

    `state` is Kafka's name of it in lower case: `stable`, `empty` (no member, the offsets are kept), `preparing_rebalancing`,
    `completing_rebalancing`, or `dead` (unknown: it has never read, or its offsets have expired).
    """

    name: str
    state: str
    members: tuple[Member, ...]
    committed: Mapping[Place, int]

    @property
    def live(self) -> bool:
        """Report whether the group has members, so that its offsets cannot be moved from outside."""
        return bool(self.members) or self.state not in {"empty", "dead"}


class BrokerState(NamedTuple):
    """The spans of partitions and the groups, read at one time."""

    spans: dict[Place, Span]
    groups: dict[str, Group]


class Offsets:
    """Kafka's administration, connected to at the first call; safe to share between threads."""

    def __init__(self, kafka: Cluster, limit: timedelta = LIMIT) -> None:
        self.kafka = kafka
        self._faults = Faults()
        self._limit = limit.total_seconds()

    @cached_property
    def _made(self) -> AdminClient:
        return AdminClient(self._faults.client(self.kafka))

    @property
    def admin(self) -> AdminClient:
        """The client, which logs in with the password as it is now."""
        if self.kafka.login:  # the password may have changed since
            self._made.set_sasl_credentials(*self.kafka.login)
        return self._made

    def look(self, topics: Collection[str], groups: Collection[str]) -> BrokerState:
        """
        Read the spans of all partitions of these topics, and these groups with their commits there.

        A commit lies within its span unless records are lost: beginnings, commits and ends are read in this order, and each of
        them only grows. A missing topic has no spans. Raises BrokerError.
        """
        places = self._places(topics)
        first = self._offsets(self._list_offsets(places, _EARLIEST))
        described = self._describe(groups)
        # One consumer after the other: each starts half a dozen threads, and a memory limit counts all their stacks.
        committed = {name: self._committed(name, places) for name in groups}
        last = self._offsets(self._list_offsets(places, _LATEST))
        return BrokerState(
            {place: Span(first[place], last[place]) for place in places},
            {name: self._group(name, described[name], committed[name]) for name in groups},
        )

    def spans(self, topics: Collection[str]) -> dict[Place, Span]:
        """Read the spans of the partitions of these topics. Raises BrokerError."""
        return self.look(topics, ()).spans

    def group(self, name: str, topics: Collection[str] = ()) -> Group:
        """Read one group, with its commits in these topics. Raises BrokerError."""
        return self.look(topics, (name,)).groups[name]

    def at(self, moment: datetime, topics: Collection[str]) -> dict[Place, int]:
        """
        Read the offset of the first record at or after the moment in each partition, or its end if all records are older.

        Raises BrokerError.
        """
        places = self._places(topics)
        found = self._list_offsets(places, OffsetSpec.for_timestamp(int(moment.timestamp() * 1000)))
        ends = self._offsets(self._list_offsets(places, _LATEST))
        return {place: offset if offset >= 0 else ends[place] for place, offset in self._offsets(found).items()}

    def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """
        Read Kafka's id of each of these topics that exists: a topic that is created again under the same name has another one.

        Raises BrokerError.
        """
        existing = {place.topic for place in self._places(topics)}
        if not existing:
            return {}
        described = self.admin.describe_topics(TopicCollection([*map(self.kafka.named, existing)]), **self._timeout)
        return {self.kafka.ours(name): str(self._result(future, f"topic {name}").topic_id) for name, future in described.items()}

    def _describe(self, groups: Collection[str]) -> dict[str, Future[Any]]:
        named = [*map(self.kafka.named, groups)]
        described = self.admin.describe_consumer_groups(named, **self._timeout) if groups else {}
        return {self.kafka.ours(name): future for name, future in described.items()}

    @property
    def _timeout(self) -> dict[str, Any]:
        return {"request_timeout": self._limit}

    def _places(self, topics: Collection[str]) -> list[Place]:
        if not topics:
            return []
        try:
            known = self.admin.list_topics(timeout=self._limit).topics
        except KafkaException as error:
            raise self._failure(error, "list of topics") from error
        named = ((topic, self.kafka.named(topic)) for topic in topics)
        return [Place(topic, number) for topic, name in named if name in known for number in sorted(known[name].partitions)]

    def _list_offsets(self, places: Iterable[Place], spec: OffsetSpec) -> Mapping[TopicPartition, Future[Any]]:
        asked = {partition_of(self.kafka, place): spec for place in places}
        return self.admin.list_offsets(asked, **self._timeout) if asked else {}

    def _offsets(self, asked: Mapping[TopicPartition, Future[Any]]) -> dict[Place, int]:
        return {self._place(where): self._result(future, f"topic {where.topic}").offset for where, future in asked.items()}

    def _committed(self, name: str, places: Collection[Place]) -> dict[Place, int]:
        """
        Read the commits of the group by a consumer that never joins it.

        The administration's own call ends the process when the group's coordinator has just moved
        (https://github.com/confluentinc/librdkafka/issues/5040).
        """
        if not places:
            return {}
        consumer = Consumer(self._faults.client(self.kafka) | {"group.id": self.kafka.named(name)})
        try:
            found = consumer.committed([partition_of(self.kafka, place) for place in places], timeout=self._limit)
        except KafkaException as error:
            raise self._failure(error, f"group {self.kafka.named(name)}") from error
        finally:
            consumer.close()
        if broken := next((each.error for each in found if each.error is not None), None):
            raise self._failure(KafkaException(broken), f"group {self.kafka.named(name)}")
        return {self._place(each): each.offset for each in found if each.offset >= 0}

    def _group(self, name: str, described: Future[Any], committed: Mapping[Place, int]) -> Group:
        try:
            seen = self._result(described, f"group {self.kafka.named(name)}")
        except _NotKnown:
            return Group(name, "dead", (), {})
        members = tuple(
            Member(
                m.member_id, m.client_id, m.host.lstrip("/"), tuple(sorted(self._place(p) for p in m.assignment.topic_partitions))
            )
            for m in seen.members
        )
        return Group(name, seen.state.name.lower(), members, committed)

    def _result(self, future: "Future[T]", of: str) -> T:
        try:
            return future.result(self._limit)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                raise _NotKnown from error
            raise self._failure(error, of) from error
        except FutureTimeout as error:
            raise BrokerError(
                Reason.KAFKA_UNAVAILABLE, f"Kafka does not answer at {self.kafka.servers} in {self._limit:g} s"
            ) from error

    def _place(self, partition: TopicPartition) -> Place:
        return Place(self.kafka.ours(partition.topic), partition.partition)

    def _failure(self, error: KafkaException, of: str) -> BrokerError:
        cause = error.args[0]
        if cause.code() < 0 or cause.retriable():  # the client's own codes: transport, time-out, no broker
            return BrokerError(Reason.KAFKA_UNAVAILABLE, self._faults.describe(self.kafka, self.admin, error))
        if cause.code() in _MOVING:
            return BrokerError(Reason.KAFKA_UNAVAILABLE, f"Kafka is moving a leader or coordinator: {cause.name()}")
        return BrokerError(Reason.KAFKA_REFUSED, f"Kafka refuses access to the {of}: {cause.str()}")


class _NotKnown(Exception):
    """Kafka does not know the group."""


def partition_of(kafka: Cluster, place: Place, offset: int = OFFSET_INVALID) -> TopicPartition:
    """Return the partition under its name on the cluster, at this offset."""
    return TopicPartition(kafka.named(place.topic), place.partition, offset)
