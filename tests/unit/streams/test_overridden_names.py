"""The overridden names of Faust, mode and aiokafka are unchanged since the last review; a new version needs a new review."""

from __future__ import annotations

import importlib
import inspect
from importlib.metadata import version
from typing import Any, Final

import faust
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.record.default_records import _DefaultRecordBatchPy
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from packaging.specifiers import SpecifierSet

from streams import agents, monitor, stopping, transport
from streams.fetcher import Fetcher as OurFetcher

OVERRIDDEN: Final[dict[type, dict[str, str]]] = {
    transport.App: {"on_first_start": "(self) -> None", "on_stop": "(self) -> None"},
    transport.Consumer: {
        "_new_consumer_thread": "(self) -> 'AIOKafkaConsumerThread'",
        "on_partitions_revoked": "(self, revoked: Set[faust.types.tuples.TP]) -> None",
        "seek_to_committed": "(self) -> Mapping[faust.types.tuples.TP, int]",
        "ack": "(self, message: faust.types.tuples.Message) -> bool",
        "verify_all_partitions_active": "(self) -> None",
        "_commit_offsets": "(self, offsets: Mapping[faust.types.tuples.TP, int], start_new_transaction: bool = True) -> bool",
        "_add_gap": "(self, tp: faust.types.tuples.TP, offset_from: int, offset_to: int) -> None",
    },
    transport.Thread: {
        "on_start": "(self) -> None",
        "close": "(self) -> None",
        "getmany": (
            "(self, active_partitions: Optional[Set[faust.types.tuples.TP]], timeout: float)"
            " -> Mapping[faust.types.tuples.TP, List[Any]]"
        ),
    },
    stopping.Worker: {
        "on_init_dependencies": "(self) -> Iterable[mode.types.services.ServiceT]",
        "install_signal_handlers": "(self) -> None",
        "_schedule_shutdown": "(self, signal: signal.Signals) -> None",
        "_crash": "(self, reason: BaseException) -> None",
    },
    stopping.QuietWorker: {"_setup_logging": "(self) -> None"},
    agents.Chunks: {
        "iterate": "(self, records: Mapping[faust.types.tuples.TP, List]) -> Iterator[Tuple[faust.types.tuples.TP, Any]]"
    },
    monitor.Monitor: {
        "on_stream_event_in": (
            "(self, tp: faust.types.tuples.TP, offset: int, stream: faust.types.streams.StreamT,"
            " event: faust.types.events.EventT) -> Optional[Dict]"
        ),
        "on_stream_event_out": (
            "(self, tp: faust.types.tuples.TP, offset: int, stream: faust.types.streams.StreamT,"
            " event: faust.types.events.EventT, state: Optional[Dict] = None) -> None"
        ),
        "on_rebalance_start": "(self, app: faust.types.app.AppT) -> Dict",
    },
}
PARENTS: Final[dict[type, type]] = {
    transport.App: faust.App,
    transport.Consumer: driver.Consumer,
    transport.Thread: driver.AIOKafkaConsumerThread,
    stopping.Worker: faust.Worker,
    stopping.QuietWorker: faust.Worker,
    agents.Chunks: DefaultSchedulingStrategy,
    monitor.Monitor: faust.Monitor,
}
SEEN: Final = {"faust-streaming": "~=0.15.3", "mode-streaming": "~=0.7.1", "aiokafka": "~=0.14.0"}


def names(kind: type) -> set[str]:
    return {name for name, value in vars(kind).items() if getattr(value, "__override__", False)}


@pytest.mark.parametrize("kind", OVERRIDDEN, ids=lambda kind: kind.__name__)
def test_overridden_names_are_in_the_list_and_their_parents_are_unchanged(kind: type) -> None:
    wanted = OVERRIDDEN[kind]
    assert names(kind) == set(wanted)
    assert {name: str(inspect.signature(getattr(PARENTS[kind], name))) for name in wanted} == wanted


@pytest.mark.parametrize("package", SEEN)
def test_the_version_is_one_that_was_looked_at(package: str) -> None:
    assert SpecifierSet(SEEN[package]).contains(version(package))


def test_names_of_aiokafka_that_are_patched_or_read_exist() -> None:
    assert str(inspect.signature(GroupCoordinator._do_commit_offsets)) == "(self, assignment, offsets)"
    assert str(inspect.signature(GroupCoordinator._send_req)) == "(self, request)"
    assert str(inspect.signature(GroupCoordinator.commit_offsets)) == "(self, assignment, offsets)"
    assert str(inspect.signature(GroupCoordinator._push_error_to_user)) == "(self, exc)"
    assert "await self._push_error_to_user(exc)" in inspect.getsource(GroupCoordinator)
    assert "self._closing = create_future()" in inspect.getsource(GroupCoordinator.__init__)
    assert "await self._coordinator.commit_offsets(" in inspect.getsource(AIOKafkaConsumer.commit)
    assert 'if "already rebalanced" in str(exc)' in inspect.getsource(driver.AIOKafkaConsumerThread._commit)
    assert "self._committed_offset.update(committable_offsets)" in inspect.getsource(driver.Consumer._commit_offsets)
    assert "acked[: len(batch)] = []" in inspect.getsource(driver.Consumer._new_offset)
    assert str(inspect.signature(fetcher.Fetcher._proc_fetch_request)) == "(self, assignment, node_id, request)"
    fetch = inspect.getsource(fetcher.Fetcher._proc_fetch_request)
    assert "response = await self._client.send(node_id, request)" in fetch
    assert "tp,\n                            fetch_offset,\n                            self._max_partition" in fetch
    assert "Errors.NotLeaderForPartitionError,\n                        Errors.UnknownTopicOrPartitionError,\n" in fetch
    assert "elif error_type is Errors.OffsetOutOfRangeError:" in fetch
    assert "self._partition_records = partition_records" in inspect.getsource(fetcher.FetchResult.__init__)
    assert "self._records_iterator = self._unpack_records()" in inspect.getsource(fetcher.PartitionRecords.__init__)
    unpack = inspect.getsource(fetcher.PartitionRecords._unpack_records)
    assert "records = self._records\n        while records.has_next():" in unpack
    assert '.decode("utf-8")' in inspect.getsource(_DefaultRecordBatchPy._read_msg)
    assert "self._maybe_uncompress()\n        return self" in inspect.getsource(_DefaultRecordBatchPy.__iter__)
    assert "tp_state.paused" in inspect.getsource(fetcher.Fetcher._get_actions_per_node)
    assert "Errors.TopicAuthorizationFailedError(tp.topic)" in inspect.getsource(fetcher.Fetcher)
    assert "self.generation = " in inspect.getsource(GroupCoordinator.__init__)
    assert "self._coordinator = GroupCoordinator(" in inspect.getsource(AIOKafkaConsumer.start)
    assert "self._client = AIOKafkaClient(" in inspect.getsource(AIOKafkaConsumer.__init__)
    assert "self.consumer.close()" in inspect.getsource(faust.App._on_rebalance_when_stopped)
    assert str(inspect.signature(AIOKafkaClient.close)) == "(self)"
    assert [*inspect.signature(AIOKafkaClient._get_conn).parameters] == ["self", "node_id", "group", "no_hint"]
    assert "conn = await self._get_conn(node_id, group=group)" in inspect.getsource(AIOKafkaClient.ready)
    assert "if not (await self.ready(node_id, group=group)):" in inspect.getsource(AIOKafkaClient.send)
    assert "sasl_plain_password=self._sasl_plain_password" in inspect.getsource(AIOKafkaClient._get_conn)
    assert "self._fetcher = Fetcher(" in inspect.getsource(AIOKafkaConsumer.start)
    assert str(inspect.signature(fetcher.Fetcher.fetched_records)) == "(self, partitions, timeout=0, max_records=None)"
    assert "await fetcher.fetched_records(" in inspect.getsource(driver.AIOKafkaConsumerThread._fetch_records)
    assert "self._subscriptions = subscriptions" in inspect.getsource(fetcher.Fetcher.__init__)
    assert str(inspect.signature(AIOKafkaClient.force_metadata_update)) == "(self)"
    assert str(inspect.signature(GroupCoordinator.request_rejoin)) == "(self)"
    assert "self._records = collections.OrderedDict()" in inspect.getsource(fetcher.Fetcher.__init__)
    assert str(inspect.signature(fetcher.Fetcher.close)) == "(self)"
    assert "self._fetch_task.cancel()" in inspect.getsource(fetcher.Fetcher.close)
    assert "self._pending_tasks = set()" in inspect.getsource(fetcher.Fetcher.__init__)
    assert "backoff = self._fetcher_timeout" in inspect.getsource(fetcher.Fetcher._get_actions_per_node)
    assert "FetchRequest(\n                self._fetch_max_wait_ms," in inspect.getsource(fetcher.Fetcher._get_actions_per_node)


def test_the_lines_of_aiokafka_that_are_left_out_are_there() -> None:
    for name, words in {
        "aiokafka.cluster": "is not authorized for this client",
        "aiokafka.consumer.fetcher": "Not authorized to read from topic",
        "aiokafka.consumer.group_coordinator": "unauthorized topics",
    }.items():
        module = importlib.import_module(name)
        assert module.log.name == name
        assert words in inspect.getsource(module)


def test_polls_are_short_while_something_fetched_waits() -> None:
    made: Any = object.__new__(OurFetcher)
    made._records = {}
    at_rest = made._fetch_max_wait_ms
    made._records = {"place": "records"}
    assert made._fetch_max_wait_ms < at_rest


def test_it_checks_for_new_positions_often_while_no_poll_runs_that_would_wake_it() -> None:
    made: Any = object.__new__(OurFetcher)
    made._pending_tasks = {"poll"}
    at_rest = made._fetcher_timeout
    made._pending_tasks = set()
    assert made._fetcher_timeout < at_rest
