"""
OpenTelemetry's SDK, which batches spans and sends them over OTLP/HTTP; the one module that imports it.

A span is handed over complete. `Tracer.start_span` would choose its id, and ours was committed with the event long before.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode

from runtime.build import release
from runtime.identity import working_as
from runtime.tracing import Trace

_KINDS: Final = {kind.name.lower(): kind for kind in SpanKind}
_RANDOM_BITS: Final = 32
_LINKS_MAX: Final = 128  # OpenTelemetry's own limit
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


class Recorder:
    """Takes spans without waiting; the SDK's processor sends them from its own thread."""

    def __init__(self, process: str, environ: Mapping[str, str], processor: SpanProcessor | None = None) -> None:
        # The SDK reads the process environment only; what `.env` sets counts too.
        os.environ.update({name: text for name, text in environ.items() if name.startswith("OTEL_")})
        self._process = process
        self._is_named = bool(environ.get("OTEL_SERVICE_NAME"))
        self._resources: dict[str, Resource] = {}
        self._scope = InstrumentationScope("tallyhook", release())
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler  # the one that OTEL_TRACES_SAMPLER names
        self._processor = processor or BatchSpanProcessor(OTLPSpanExporter())

    def record(
        self,
        name: str,
        trace: Trace,
        parent: str | None,
        began: int,
        ended: int,
        *,
        kind: str,
        links: Sequence[Trace],
        failed: bool,
        attributes: Mapping[str, Any],
    ) -> None:
        """Queue a span that has ended; `began` and `ended` are Unix nanoseconds, `parent` is the id of a span of its trace."""
        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=_context(trace),
                parent=_context(trace._replace(span_id=parent)) if parent else None,
                resource=self._resource_of(working_as(self._process)),
                attributes=attributes,
                links=[Link(_context(each)) for each in links[:_LINKS_MAX]],
                kind=_KINDS[kind],
                status=_ERROR if failed else _UNSET,
                start_time=began,
                end_time=ended,
                instrumentation_scope=self._scope,
            )
        )

    def samples(self, trace_id: str, caller: Trace | None) -> bool:
        """
        Decide whether a trace that begins here is recorded; `caller` is the step of the trace that came in.

        The SDK's ratio looks at the lower 64 bits of the id. Those of a UUIDv7, as ours are, always begin with `10`, so that a
        ratio of a half or less would sample nothing; the lowest 32 bits are random in any id, and are moved to the front.
        """
        found = self._sampler.should_sample(_PARENTS[caller and caller.sampled], int(trace_id, 16) << _RANDOM_BITS, "")
        return found.decision is Decision.RECORD_AND_SAMPLE

    def _resource_of(self, process: str) -> Resource:
        if process not in self._resources:
            attributes = {"service.version": release(), "tallyhook.process": process}
            if not self._is_named:
                attributes["service.name"] = f"tallyhook-{process}"
            self._resources[process] = Resource.create(attributes)
        return self._resources[process]

    def close(self) -> None:
        """Send the remaining spans."""
        self._processor.shutdown()


def _context(trace: Trace) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), is_remote=True, trace_flags=flags)


def _as_parent(*, sampled: bool) -> Context:
    return set_span_in_context(NonRecordingSpan(_context(Trace("1" * 32, "1" * 16, sampled))), Context())


# A sampler looks at the caller's flag alone, so that one context for each flag is enough.
_PARENTS: Final = {None: Context(), True: _as_parent(sampled=True), False: _as_parent(sampled=False)}
