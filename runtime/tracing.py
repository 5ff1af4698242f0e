"""
Traces: a trace is taken from the caller (W3C Trace Context) or starts here; every log line and event carries it.

A process that has the extra `otel`, as the image has, and a collector records OpenTelemetry spans too. While they are off,
nothing of OpenTelemetry is imported and the functions that record return at once. A span is recorded when it has ended, under the
ids that our `traceparent` carries anyway, so that answers, log lines, records on Kafka and spans name the same trace.
Why the call sites do not use OpenTelemetry's own interface: docs/decisions/0009-spans-are-recorded-when-they-end.md.
"""

import atexit
import random
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol
from uuid import UUID

import structlog

if TYPE_CHECKING:
    from runtime.otel import Recorder

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_VERSION = "00"
_INVALID_VERSION = "ff"


class Trace(NamedTuple):
    """One step of one trace: 32 and 16 lower-case hex digits."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def child(self) -> "Trace":
        """Return the next step of the same trace."""
        # Unique, not secret: the system's randomness would cost intake a system call a request.
        return Trace(self.trace_id, f"{random.getrandbits(64):016x}", self.sampled)


Sampler = Callable[[str, Trace | None], bool]
"""Decides from a trace id, and the step of the caller if there is one, whether the trace is recorded."""

_sampler: Sampler | None = None


def sample_by(sampler: Sampler | None) -> None:
    """Use this sampler for every trace that begins or comes in; without one, a trace is sampled unless its caller excludes it."""
    global _sampler  # noqa: PLW0603  # one a process, as with logging
    _sampler = sampler


def new_trace() -> Trace:
    return _sampled(Trace(secrets.token_hex(16), secrets.token_hex(8)), None)


def trace_of_call(header: str | None, name: str) -> Trace:
    """Return the next step of the trace in a `traceparent` header, or a new trace whose id is the name, 32 hex digits."""
    caller = parse_traceparent(header)
    return _sampled(caller.child(), caller) if caller else _sampled(Trace(name, name[16:]), None)


def _sampled(trace: Trace, caller: Trace | None) -> Trace:
    return trace if _sampler is None else trace._replace(sampled=_sampler(trace.trace_id, caller))


def parse_traceparent(header: str | None) -> Trace | None:
    """Parse a `traceparent` header; return None if it breaks the rule (https://www.w3.org/TR/trace-context/)."""
    match = _TRACEPARENT.fullmatch(header) if header else None
    if match is None or match[1] == _INVALID_VERSION or not int(match[2], 16) or not int(match[3], 16):
        return None
    if match[1] == _VERSION and match[5]:
        return None  # only a later version may have more fields
    return Trace(match[2], match[3], bool(int(match[4], 16) & 1))


def trace_id_of(header: str | None) -> str | None:
    """The trace id of a `traceparent` header; None where the header breaks the rule."""
    trace = parse_traceparent(header)
    return trace.trace_id if trace else None


def span_id_of(header: str | None) -> str | None:
    """The span id of a `traceparent` header; None where the header breaks the rule."""
    trace = parse_traceparent(header)
    return trace.span_id if trace else None


def continue_trace(header: str | None) -> Trace:
    """Return the next step of the caller's trace, or of a new one."""
    caller = parse_traceparent(header)
    return caller.child() if caller else new_trace()


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
    sample_by(recorder.samples if recorder else None)


def on() -> bool:
    """Report whether spans are recorded."""
    return _recorder is not None


def now() -> int:
    """Return the Unix nanoseconds at which a span begins, or 0 while spans are off, which saves reading the clock."""
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
    """Record work that was done for many traces at once: a separate trace with a link to each of them that is sampled."""
    links = [trace for each in traceparents if (trace := parse_traceparent(each)) and trace.sampled]
    if links:
        record(name, new_trace()._replace(sampled=True), began, links=links, **attributes)


class _Transaction:
    """The events that one transaction writes; `causes` are their spans by causation id, `otherwise` the span of the others."""

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


_current: ContextVar[_Transaction | None] = ContextVar("transaction", default=None)


@contextmanager
def transaction(causes: Mapping[UUID, Trace], otherwise: Trace | None = None) -> Iterator[None]:
    """Enclose a transaction: if it succeeds, the events that it wrote are recorded, each below its cause."""
    if _recorder is None:
        yield
        return
    mine = _Transaction(causes, otherwise)
    token = _current.set(mine)
    try:
        yield
    finally:
        _current.reset(token)
    mine.record()


def note_written(events: Sequence[Written]) -> None:
    """Note events that the open transaction has written."""
    if _recorder and (mine := _current.get()):
        began = time.time_ns()
        mine.written += [(began, event) for event in events]


def discard_written() -> None:
    """Forget the events of a transaction that is rolled back and starts again."""
    if _recorder and (mine := _current.get()):
        mine.written.clear()
