"""
OpenTelemetry spans of a process that has the extra `otel`, as the image has, and a collector.

While spans are off, nothing of OpenTelemetry is imported and every verb here returns at once. A span is recorded when it has
ended, under the ids that our `traceparent` carries anyway, so that answers, log lines, records on Kafka and spans name the same
trace.
Why the call sites do not use OpenTelemetry's own interface: docs/decisions/0009-spans-are-recorded-when-they-end.md.
"""

import atexit
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from uuid import UUID

import structlog

from runtime import tracing
from runtime.tracing import Trace, parse_traceparent

if TYPE_CHECKING:
    from runtime.otel import Recorder

log = structlog.get_logger()

Kind = Literal["internal", "server", "client", "producer", "consumer"]

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Written(Protocol):
    """The fields of an outbox event that its span needs."""

    @property
    def type(self) -> str: ...
    @property
    def topic(self) -> str: ...
    @property
    def traceparent(self) -> str: ...
    @property
    def causation_id(self) -> UUID | None: ...


_recorder: "Recorder | None" = None


def configure_spans(process: str, environ: Mapping[str, str]) -> None:
    """Turn spans on if OpenTelemetry's standard variables name an endpoint."""
    if not any(environ.get(name) for name in _ENDPOINTS) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from runtime.otel import Recorder  # noqa: PLC0415  # an extra, and half a second that only its users pay
    except ImportError as error:
        log.warning("spans_off", reason="otel_missing", error=f"{error}: install the extra `otel`")
        return
    recorder = Recorder(process, environ)
    record_with(recorder)
    atexit.register(recorder.close)


def record_with(recorder: "Recorder | None") -> None:
    """Send spans to this recorder from now on, and let it decide which traces are sampled; None turns spans off."""
    global _recorder  # noqa: PLW0603  # one a process, as with logging
    _recorder = recorder
    tracing.sample_by(recorder.samples if recorder else None)


def on() -> bool:
    """Report whether spans are recorded."""
    return _recorder is not None


def now() -> int:
    """Return the Unix nanoseconds at which a span begins, or 0 while spans are off, which spares a look at the clock."""
    return time.time_ns() if _recorder else 0


def record(
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
    """
    Record a span that ends now, unless its trace is not sampled.

    `parent` is the id of a span of the same trace; `__` in the name of an attribute stands for a dot.
    """
    if _recorder and trace.sampled:
        named = {key.replace("__", "."): value for key, value in attributes.items() if value is not None}
        _recorder.record(name, trace, parent, began, time.time_ns(), kind=kind, links=links, failed=failed, attributes=named)


def record_batch(name: str, began: int, traceparents: Sequence[str], **attributes: Any) -> None:
    """Record work that was done for many traces at once: a trace of its own with a link to each of them that is sampled."""
    links = [trace for each in traceparents if (trace := parse_traceparent(each)) and trace.sampled]
    if links:
        record(name, tracing.new_trace()._replace(sampled=True), began, links=links, **attributes)


class Unit:
    """The events that one transaction writes; `causes` are the spans that caused them, `otherwise` that of all others."""

    def __init__(self, causes: Mapping[UUID, Trace], otherwise: Trace | None) -> None:
        self._causes = causes
        self._otherwise = otherwise
        self.written: list[tuple[int, Written]] = []

    def record(self) -> None:
        for began, event in self.written:
            cause = self._causes.get(event.causation_id) if event.causation_id else None
            trace, parent = parse_traceparent(event.traceparent), cause or self._otherwise
            if trace and parent and parent.trace_id == trace.trace_id:
                record(
                    f"create {event.type}", trace, began, parent=parent.span_id, kind="producer",
                    messaging__destination__name=str(event.topic),
                )  # fmt: skip


_unit: ContextVar[Unit | None] = ContextVar("unit", default=None)


@contextmanager
def unit(causes: Mapping[UUID, Trace], otherwise: Trace | None = None) -> Iterator[None]:
    """Enclose a transaction: if it succeeds, the events that it wrote are recorded, each below its cause."""
    if _recorder is None:
        yield
        return
    mine = Unit(causes, otherwise)
    token = _unit.set(mine)
    try:
        yield
    finally:
        _unit.reset(token)
    mine.record()


def note_written(events: Sequence[Written]) -> None:
    """Note events that the open transaction has written."""
    if _recorder and (mine := _unit.get()):
        began = time.time_ns()
        mine.written += [(began, event) for event in events]


def discard_written() -> None:
    """Forget the events of a transaction that is rolled back and starts again."""
    if _recorder and (mine := _unit.get()):
        mine.written.clear()
