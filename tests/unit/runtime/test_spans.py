"""Spans cost nothing while they are off, are sampled as the standard variables say, and tell of what was committed only."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest

from runtime import spans
from runtime.ids import new_id
from runtime.otel import OtlpRecorder, Sampler
from runtime.tracing import Trace, new_trace, trace_of_call
from tests.collector import collecting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

CAUSE = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


class Kept:
    """A recorder that keeps."""

    def __init__(self, *, sampled: bool = True) -> None:
        self.spans: list[spans.Span] = []
        self._sampled = sampled

    def take(self, span: spans.Span) -> None:
        self.spans.append(span)

    def samples(self, _: str, caller: Trace | None) -> bool:
        return self._sampled if caller is None else caller.sampled

    def close(self) -> None: ...


class Event(NamedTuple):
    type: str
    traceparent: str
    causation_id: UUID | None = None
    topic: str = "here"


@pytest.fixture
def kept() -> Iterator[Kept]:
    recorder = Kept()
    spans.record_with(recorder)
    yield recorder
    spans.record_with(None)


def test_without_an_endpoint_no_process_loads_the_exporter() -> None:
    # Drivers of Redis and Elasticsearch look for OpenTelemetry's interface by themselves, where it is installed.
    code = """
import sys
import ops.processes.gateway, ops.processes.relay, ops.processes.worker
from runtime import spans
spans.configure_spans("here", {"OTEL_SERVICE_NAME": "here"})
spans.configure_spans("here", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"})
print(spans.on(), spans.now(), [name for name in sys.modules if name.startswith(("opentelemetry.exporter", "runtime.otel"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False 0 []\n"


def test_a_process_without_the_extra_says_so_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "runtime.otel", None)
    spans.configure_spans("here", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert not spans.on()


@pytest.mark.parametrize("name", ["traceidratio", "parentbased_traceidratio"])
def test_a_ratio_holds_for_ids_that_are_uuids_by_time(name: str) -> None:
    sampler = Sampler(name, "0.25")
    taken = sum(sampler.samples(new_id().hex, None) for _ in range(20_000))
    assert 0.2 < taken / 20_000 < 0.3


@pytest.mark.parametrize(
    ("name", "of_sampled", "of_unsampled", "new"),
    [
        ("", True, False, True),
        ("parentbased_always_on", True, False, True),
        ("parentbased_always_off", True, False, False),
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("parentbased_traceidratio", True, False, True),
        ("something else", True, True, True),
    ],
)
def test_a_sampler_decides_as_its_name_says(name: str, of_sampled: bool, of_unsampled: bool, new: bool) -> None:
    sampler = Sampler(name, "1")
    assert sampler.samples(CAUSE.trace_id, CAUSE) is of_sampled
    assert sampler.samples(CAUSE.trace_id, CAUSE._replace(sampled=False)) is of_unsampled
    assert sampler.samples(CAUSE.trace_id, None) is new


def test_the_decision_goes_along_with_the_trace() -> None:
    spans.record_with(Kept(sampled=False))
    try:
        assert not new_trace().sampled
        assert not trace_of_call(None, CAUSE.trace_id).child().sampled
        assert trace_of_call(CAUSE.traceparent, "").sampled
    finally:
        spans.record_with(None)
    assert new_trace().sampled


def test_what_is_not_sampled_is_not_told(kept: Kept) -> None:
    spans.tell("seen", CAUSE, 1)
    spans.tell("unseen", CAUSE._replace(sampled=False), 1)
    spans.tell_batch("seen", 1, [CAUSE.traceparent, CAUSE._replace(sampled=False).traceparent])
    spans.tell_batch("unseen", 1, [CAUSE._replace(sampled=False).traceparent])
    assert [(span.name, len(span.links)) for span in kept.spans] == [("seen", 0), ("seen", 1)]


def test_events_are_told_below_what_caused_them_once_their_transaction_has_ended_well(kept: Kept) -> None:
    cause, other = new_id(), CAUSE.child()
    with spans.unit({cause: CAUSE}, other):
        spans.wrote([Event("undone", CAUSE.child().traceparent, cause)])
        spans.begin_anew()
        spans.wrote([Event("caused", CAUSE.child().traceparent, cause), Event("otherwise", CAUSE.child().traceparent)])
        spans.wrote([Event("of another trace", new_trace().traceparent)])
        assert kept.spans == []
    assert [(span.name, span.parent) for span in kept.spans] == [
        ("create caused", CAUSE.span_id),
        ("create otherwise", other.span_id),
    ]


def test_events_of_a_transaction_that_failed_are_not_told(kept: Kept) -> None:
    with suppress(ZeroDivisionError), spans.unit({}, CAUSE):
        spans.wrote([Event("lost", CAUSE.child().traceparent)])
        raise ZeroDivisionError
    spans.wrote([Event("outside", CAUSE.child().traceparent)])
    assert kept.spans == []


def test_a_span_arrives_at_a_collector_as_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        recorder = OtlpRecorder("here", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_RESOURCE_ATTRIBUTES": "a=b"})
        monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES")
        span = spans.Span(
            "done", CAUSE.child(), CAUSE.span_id, 1_000, 2_000, "consumer", {"n": 1, "t": "x"}, [CAUSE], failed=True
        )
        recorder.take(span)
        recorder.close()
        [came] = collector.spans
    assert (came.service, came.name, came.kind, came.failed) == ("tallyhook-here", "done", "consumer", True)
    assert (came.trace_id, came.parent, came.span_id) == (CAUSE.trace_id, CAUSE.span_id, span.trace.span_id)
    assert (came.links, came.attributes) == ((CAUSE.span_id,), {"n": 1, "t": "x"})
