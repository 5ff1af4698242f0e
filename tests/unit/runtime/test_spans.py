"""Spans cost nothing while they are off, are sampled by the standard variables, and record committed work only."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runtime import tracing
from runtime.identity import work_as
from runtime.ids import new_id
from runtime.otel import Recorder
from runtime.tracing import Trace, new_trace, trace_of_call
from tests.collector import collecting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

CAUSE = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


class Event(NamedTuple):
    type: str
    traceparent: str
    causation_id: UUID | None = None
    topic: str = "here"


def recorder(exporter: InMemorySpanExporter) -> Recorder:
    """OpenTelemetry's SDK with an exporter that keeps what it is given."""
    return Recorder("here", {}, SimpleSpanProcessor(exporter))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    monkeypatch.delenv("OTEL_TRACES_SAMPLER", raising=False)
    exporter = InMemorySpanExporter()
    tracing.record_with(recorder(exporter))
    yield exporter
    tracing.record_with(None)


def test_without_an_endpoint_no_process_loads_the_exporter() -> None:
    # The clients of Redis and Elasticsearch use OpenTelemetry's interface if it is installed.
    code = """
import sys
import ops.processes.gateway, ops.processes.relay, ops.processes.worker
from runtime import tracing
tracing.configure_spans("here", {"OTEL_SERVICE_NAME": "here"})
tracing.configure_spans("here", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"})
print(tracing.on(), tracing.now(), [name for name in sys.modules if name.startswith(("opentelemetry.exporter", "runtime.otel"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False 0 []\n"


def test_a_process_without_the_extra_reports_it_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "runtime.otel", None)
    tracing.configure_spans("here", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert not tracing.on()


@pytest.mark.parametrize("name", ["traceidratio", "parentbased_traceidratio"])
def test_a_ratio_holds_for_ids_that_are_uuids_by_time(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    sampler = recorder(InMemorySpanExporter())
    taken = sum(sampler.samples(new_id().hex, None) for _ in range(20_000))
    assert 0.2 < taken / 20_000 < 0.3


@pytest.mark.parametrize(
    ("name", "of_sampled", "of_unsampled", "new"),
    [
        ("parentbased_always_on", True, False, True),
        ("parentbased_always_off", True, False, False),
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("parentbased_traceidratio", True, False, True),
        ("something else", True, False, True),
    ],
)
def test_a_sampler_decides_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, of_sampled: bool, of_unsampled: bool, new: bool
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    sampler = recorder(InMemorySpanExporter())
    assert sampler.samples(CAUSE.trace_id, CAUSE) is of_sampled
    assert sampler.samples(CAUSE.trace_id, CAUSE._replace(sampled=False)) is of_unsampled
    assert sampler.samples(CAUSE.trace_id, None) is new


@pytest.mark.usefixtures("kept")
def test_without_a_sampler_the_caller_decides() -> None:
    assert trace_of_call(CAUSE.traceparent, "").sampled
    assert not trace_of_call(CAUSE._replace(sampled=False).traceparent, "").sampled
    assert new_trace().sampled


def test_the_decision_goes_along_with_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    tracing.record_with(recorder(InMemorySpanExporter()))
    try:
        assert not new_trace().sampled
        assert not trace_of_call(None, CAUSE.trace_id).child().sampled
        assert trace_of_call(CAUSE.traceparent, "").sampled
    finally:
        tracing.record_with(None)
    assert new_trace().sampled


def test_an_unsampled_trace_is_not_recorded(kept: InMemorySpanExporter) -> None:
    tracing.record("seen", CAUSE, 1)
    tracing.record("unseen", CAUSE._replace(sampled=False), 1)
    tracing.record_batch("seen", 1, [CAUSE.traceparent, CAUSE._replace(sampled=False).traceparent])
    tracing.record_batch("unseen", 1, [CAUSE._replace(sampled=False).traceparent])
    assert [(span.name, len(span.links)) for span in kept.get_finished_spans()] == [("seen", 0), ("seen", 1)]


def test_events_are_recorded_below_their_cause_once_their_transaction_is_committed(kept: InMemorySpanExporter) -> None:
    cause, other = new_id(), CAUSE.child()
    with tracing.transaction({cause: CAUSE}, other):
        tracing.note_written([Event("undone", CAUSE.child().traceparent, cause)])
        tracing.discard_written()
        tracing.note_written([Event("caused", CAUSE.child().traceparent, cause), Event("otherwise", CAUSE.child().traceparent)])
        tracing.note_written([Event("of another trace", new_trace().traceparent)])
        assert kept.get_finished_spans() == ()
    assert [(span.name, span.parent and f"{span.parent.span_id:016x}") for span in kept.get_finished_spans()] == [
        ("create caused", CAUSE.span_id),
        ("create otherwise", other.span_id),
    ]


def test_events_of_a_transaction_that_failed_are_not_recorded(kept: InMemorySpanExporter) -> None:
    with suppress(ZeroDivisionError), tracing.transaction({}, CAUSE):
        tracing.note_written([Event("lost", CAUSE.child().traceparent)])
        raise ZeroDivisionError
    tracing.note_written([Event("outside", CAUSE.child().traceparent)])
    assert kept.get_finished_spans() == ()


def test_a_span_arrives_at_a_collector_as_it_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    step = CAUSE.child()
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        sending = Recorder("here", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_RESOURCE_ATTRIBUTES": "a=b"})
        monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES")
        tracing.record_with(sending)
        try:
            tracing.record("done", step, 1_000, parent=CAUSE.span_id, kind="consumer", links=[CAUSE], failed=True, n=1, a__b="x")
        finally:
            tracing.record_with(None)
            sending.close()
        [came] = collector.spans
    assert (came.service, came.name, came.kind, came.failed) == ("tallyhook-here", "done", "consumer", True)
    assert (came.trace_id, came.parent, came.span_id) == (CAUSE.trace_id, CAUSE.span_id, step.span_id)
    assert (came.links, came.attributes) == ((CAUSE.span_id,), {"n": 1, "a.b": "x"})


async def test_a_span_is_of_the_role_that_records_it(kept: InMemorySpanExporter) -> None:
    async def role(name: str | None) -> None:
        if name:
            work_as(name)
        tracing.record(name or "itself", new_trace()._replace(sampled=True), tracing.now())

    await asyncio.gather(role("worker-one"), role("worker-other"), role(None))
    services = {span.name: span.resource.attributes["service.name"] for span in kept.get_finished_spans()}
    assert services == {
        "worker-one": "tallyhook-worker-one",
        "worker-other": "tallyhook-worker-other",
        "itself": "tallyhook-here",
    }
