"""
Spans handed to OpenTelemetry's SDK, which batches them and sends them over OTLP/HTTP; the one module that imports it.

Its own sampler by ratio is of no use here: it judges by the lower 64 bits of the trace id, and in an id that is a UUIDv7, as ours
are, those begin with `10` always: a ratio of a half or less would sample nothing. The lowest 32 are random in anybody's.
"""

import os
from collections.abc import Mapping
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from runtime.build import release
from runtime.spans import Span
from runtime.tracing import Trace

_KINDS: Final = {kind.name.lower(): kind for kind in SpanKind}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_RANDOM_BITS: Final = 32
_LINKS_MAX: Final = 128  # OpenTelemetry's own limit
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


class OtlpRecorder:
    """Takes spans without waiting, and sends them from a thread of its own."""

    def __init__(self, process: str, environ: Mapping[str, str]) -> None:
        # The SDK reads the process environment only; what `.env` says counts too.
        os.environ.update({name: text for name, text in environ.items() if name.startswith("OTEL_")})
        attributes = {"service.version": release(), "tallyhook.process": process}
        if not environ.get("OTEL_SERVICE_NAME"):
            attributes["service.name"] = f"tallyhook-{process}"
        self._resource = Resource.create(attributes)
        self._scope = InstrumentationScope("tallyhook", release())
        self._sampler = Sampler(environ.get("OTEL_TRACES_SAMPLER", ""), environ.get("OTEL_TRACES_SAMPLER_ARG", ""))
        self._processor = BatchSpanProcessor(OTLPSpanExporter())

    def take(self, span: Span) -> None:
        self._processor.on_end(
            ReadableSpan(
                name=span.name,
                context=_context(span.trace),
                parent=_context(span.trace._replace(span_id=span.parent)) if span.parent else None,
                resource=self._resource,
                attributes=span.attributes,
                links=[Link(_context(trace)) for trace in span.links[:_LINKS_MAX]],
                kind=_KINDS[span.kind],
                status=_ERROR if span.failed else _UNSET,
                start_time=span.began,
                end_time=span.ended,
                instrumentation_scope=self._scope,
            )
        )

    def samples(self, trace_id: str, caller: Trace | None) -> bool:
        return self._sampler.samples(trace_id, caller)

    def close(self) -> None:
        """Send what is left."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped


class Sampler:
    """`always_on`, `always_off` or `traceidratio` with its ratio, each also `parentbased_…`: what OTEL_TRACES_SAMPLER names."""

    def __init__(self, name: str, argument: str) -> None:
        kind = name.strip().lower() or "parentbased_always_on"
        self._parent_based = kind.startswith("parentbased_")
        try:
            ratio = min(1.0, max(0.0, float(argument)))
        except ValueError:
            ratio = 1.0
        share = {"always_off": 0.0, "traceidratio": ratio}.get(kind.removeprefix("parentbased_"), 1.0)
        self._below: int = round(share * 2**_RANDOM_BITS)

    def samples(self, trace_id: str, caller: Trace | None) -> bool:
        if self._parent_based and caller is not None:
            return caller.sampled
        return int(trace_id[-_RANDOM_BITS // 4 :], 16) < self._below


def _context(trace: Trace) -> SpanContext:
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), is_remote=False, trace_flags=_SAMPLED)
