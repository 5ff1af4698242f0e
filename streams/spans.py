"""The spans of a worker: one for each event that it handled, and one for the transaction that several events shared."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from runtime import spans
from runtime.tracing import continue_trace, span_id_of
from schemas.envelope import Event
from streams.records import Record


class Handled(Protocol):
    """A record and the event in it."""

    @property
    def record(self) -> Record: ...
    @property
    def event(self) -> Event: ...


@contextmanager
def handling(worker: str, items: Sequence[Handled], *, reason: str | None = None) -> Iterator[None]:
    """
    Enclose a transaction: if it succeeds, a span is recorded for each event, and below it those of the events that it caused.

    `reason` is the reason of events that failed, whose dead letters the transaction writes.
    """
    if not spans.on():
        yield
        return
    began = spans.now()
    steps = [(item, continue_trace(item.event.traceparent)) for item in items]
    with spans.unit({item.event.id: step for item, step in steps}):
        yield
    for item, step in steps:
        spans.record(
            f"process {item.record.topic}",
            step,
            began,
            parent=span_id_of(item.event.traceparent),
            kind="consumer",
            failed=reason is not None,
            error__type=reason,
            messaging__system="kafka",
            messaging__operation__type="process",
            messaging__consumer__group__name=worker,
            messaging__destination__name=item.record.topic,
            messaging__destination__partition__id=str(item.record.partition),
            messaging__kafka__offset=item.record.offset,
            messaging__message__id=str(item.event.id),
            tallyhook__type=item.event.type,
        )
    if reason is None:
        spans.record_batch("round", began, [step.traceparent for _, step in steps], tallyhook__events=len(steps))
