"""
OpenTelemetry spans, for whoever has the extra `otel`, as the image does, and a collector.

While they are off, nothing of OpenTelemetry is imported and every verb here returns at once. A span is told when it has ended,
under the ids that our `traceparent` carries anyway: so answers, log lines, records on Kafka and spans speak of the same trace.
"""

import atexit
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal, NamedTuple, Protocol
from uuid import UUID

import structlog

from runtime import tracing
from runtime.tracing import Trace, parse_traceparent

log = structlog.get_logger()

Kind = Literal["internal", "server", "client", "producer", "consumer"]

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Span(NamedTuple):
    """Something that took its time; `began` and `ended` are Unix nanoseconds, `parent` is the id of a span of the same trace."""

    name: str
    trace: Trace
    parent: str | None
    began: int
    ended: int
    kind: Kind
    attributes: Mapping[str, Any]
    links: Sequence[Trace]
    failed: bool


class Recorder(Protocol):
    """Where spans go."""

    def take(self, span: Span) -> None: ...

    def samples(self, trace_id: str, caller: Trace | None) -> bool:
        """Whether a trace that begins here is told; `caller` is where it was before, if it came in."""

    def close(self) -> None: ...


class Written(Protocol):
    """An event that is written down, as far as its span needs it."""

    @property
    def type(self) -> str: ...
    @property
    def topic(self) -> str: ...
    @property
    def traceparent(self) -> str: ...
    @property
    def causation_id(self) -> UUID | None: ...


_recorder: Recorder | None = None


def configure_spans(process: str, environ: Mapping[str, str]) -> None:
    """Turn spans on where an endpoint is set, by the standard variables of OpenTelemetry."""
    if not any(environ.get(name) for name in _ENDPOINTS) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from runtime.otel import OtlpRecorder  # noqa: PLC0415  # an extra, and half a second that only those pay who use it
    except ImportError as error:
        log.warning("spans_off", reason="otel_missing", error=f"{error}: install the extra `otel`")
        return
    recorder = OtlpRecorder(process, environ)
    record_with(recorder)
    atexit.register(recorder.close)


def record_with(recorder: Recorder | None) -> None:
    """Let spans go there from now on, or nowhere."""
    global _recorder  # noqa: PLW0603  # one a process, as with logging
    _recorder = recorder
    tracing.sample_by(recorder.samples if recorder else None)


def on() -> bool:
    """Whether anybody listens."""
    return _recorder is not None


def now() -> int:
    """When a span begins; 0 while nobody listens, so that nobody looks at the clock for nothing."""
    return time.time_ns() if _recorder else 0


def tell(
    name: str,
    trace: Trace,
    began: int,
    *,
    parent: str | None = None,
    kind: Kind = "internal",
    links: Sequence[Trace] = (),
    failed: bool = False,
    **attributes: Any,
) -> None:
    """Tell of what ends now, unless its trace is not sampled; `__` in the name of an attribute stands for a dot."""
    if _recorder and trace.sampled:
        named = {key.replace("__", "."): value for key, value in attributes.items() if value is not None}
        _recorder.take(Span(name, trace, parent, began, time.time_ns(), kind, named, links, failed))


def tell_batch(name: str, began: int, traceparents: Sequence[str], **attributes: Any) -> None:
    """Tell of what was done for many traces at once: a trace of its own that links to each of them that is sampled."""
    links = [trace for each in traceparents if (trace := parse_traceparent(each)) and trace.sampled]
    if links:
        tell(name, tracing.new_trace()._replace(sampled=True), began, links=links, **attributes)


class Unit:
    """The events that one transaction writes down; `causes` are the spans that caused them, `otherwise` that of all others."""

    def __init__(self, causes: Mapping[UUID, Trace], otherwise: Trace | None) -> None:
        self._causes = causes
        self._otherwise = otherwise
        self.written: list[tuple[int, Written]] = []

    def tell(self) -> None:
        for began, event in self.written:
            cause = self._causes.get(event.causation_id) if event.causation_id else None
            trace, parent = parse_traceparent(event.traceparent), cause or self._otherwise
            if trace and parent and parent.trace_id == trace.trace_id:
                tell(
                    f"create {event.type}", trace, began, parent=parent.span_id, kind="producer",
                    messaging__destination__name=str(event.topic),
                )  # fmt: skip


_unit: ContextVar[Unit | None] = ContextVar("unit", default=None)


@contextmanager
def unit(causes: Mapping[UUID, Trace], otherwise: Trace | None = None) -> Iterator[None]:
    """Around a transaction: the events that it writes down are told of if it ends well, each below what caused it."""
    if _recorder is None:
        yield
        return
    mine = Unit(causes, otherwise)
    token = _unit.set(mine)
    try:
        yield
    finally:
        _unit.reset(token)
    mine.tell()


def wrote(events: Sequence[Written]) -> None:
    """These are written down in the transaction that is open."""
    if _recorder and (mine := _unit.get()):
        began = time.time_ns()
        mine.written += [(began, event) for event in events]


def begin_anew() -> None:
    """The transaction starts again: what it had written is undone."""
    if _recorder and (mine := _unit.get()):
        mine.written.clear()
