"""The metrics of several processes as one text."""

from __future__ import annotations

from multiprocessing import get_context
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.siblings import merged
from runtime.ids import new_id
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def text_of(value: float) -> str:
    """The metrics of a process in which everything has this value."""
    registry = CollectorRegistry()
    Counter("calls", "Calls.", ["path"], registry=registry).labels('a{b} "c"\n').inc(value)
    Gauge("open", "Open ones.", registry=registry).set(value)
    Histogram("size", "Sizes.", registry=registry, buckets=(1, 10)).observe(value)
    return generate_latest(registry).decode()


def test_each_family_is_there_once_with_the_samples_of_every_process() -> None:
    families = list(text_string_to_metric_families(merged({1: text_of(1), 3: text_of(5)})))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    samples = {(sample.name, sample.labels["gateway_process"]): sample for family in families for sample in family.samples}
    assert [(samples["calls_total", n].value, samples["open", n].value) for n in "13"] == [(1, 1), (5, 5)]
    assert samples["calls_total", "3"].labels["path"] == 'a{b} "c"\n'
    types = {family.name: family.type for family in families}
    assert (types["calls"], types["open"], types["size"]) == ("counter", "gauge", "histogram")


def test_nothing_is_lost_of_either() -> None:
    one = list(text_string_to_metric_families(text_of(1)))
    both = list(text_string_to_metric_families(merged({1: text_of(1), 2: text_of(1)})))
    assert [len(family.samples) for family in both] == [2 * len(family.samples) for family in one]


def test_metrics_of_only_one_process_are_included_too() -> None:
    text = merged({1: "# HELP a A.\n# TYPE a gauge\na 1.0\n", 2: "# HELP b B.\n# TYPE b gauge\nb 2.0\n"})
    assert 'a{gateway_process="1"} 1.0\n' in text
    assert 'b{gateway_process="2"} 2.0\n' in text


def test_forked_processes_make_ids_of_their_own() -> None:
    new_id()  # a generator that has begun, which both of them inherit
    context = get_context("fork")
    tails: list[str] = []
    for _ in range(2):
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_tell_random_parts, args=(writer,))
        process.start()
        writer.close()  # the child's is the only one left, so that its death ends the wait
        assert reader.poll(LIMIT)
        tails += reader.recv()
        process.join()
    assert len(set(tails)) == len(tails)


def _tell_random_parts(writer: Connection) -> None:
    writer.send([new_id().hex[-12:] for _ in range(100)])
