"""A batch as steps: one event moves one aggregate from one version to the next. Nothing here waits for the store."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from outbox.append import event_of
from projections.reconciliation import SOURCE, Paid
from runtime.ids import new_id
from runtime.tracing import Trace, new_trace, parse_traceparent
from schemas import billing
from schemas.envelope import Event
from schemas.operations import AlertRaised
from streams.payments import news
from streams.payments.facts import DisputeFact, Fact, InvoiceFact, PaymentFact, RefundFact, SubscriptionFact
from streams.payments.fold import fold, is_contested
from streams.payments.states import DisputeState, InvoiceState, PaymentState, RefundState, State, SubscriptionState
from streams.payments.store import Claims, Key, Kind, Line, Loaded, Saved


class Interpreted(NamedTuple):
    """An event with the facts that were extracted from it, at most one an aggregate."""

    event: Event
    type: str
    facts: Sequence[Fact]


class Step(NamedTuple):
    """The effect of one event on one aggregate; `contested` if it cannot be put in order with another one of its second."""

    event: Event
    old: State | None
    new: State
    version: int
    contested: bool = False


Steps = Mapping[Key, Sequence[Step]]
"""The steps of a batch, by the aggregate that they move."""


def key_of(fact: Fact) -> Key:
    return Key(_KINDS[type(fact)], fact.provider, fact.id)


_KINDS: Final[dict[type[Fact], Kind]] = {
    PaymentFact: "payment",
    RefundFact: "refund",
    DisputeFact: "dispute",
    SubscriptionFact: "subscription",
    InvoiceFact: "invoice",
}


def lines_of(interpreted: Iterable[Interpreted]) -> list[Line]:
    """The batch as lines of history."""
    return [
        Line(key.kind, key.id, event.id, fact.stamp.event, kind, event.occurred_at)
        for event, kind, facts in interpreted
        for fact in facts
        for key in [key_of(fact)]
    ]


def take(interpreted: Iterable[Interpreted], states: Mapping[Key, tuple[State, int]], loaded: Loaded) -> dict[Key, list[Step]]:
    """
    Return the steps of every aggregate that the batch changes, in record order.

    A version counts distinct events, so an event that is in the history already makes no step.
    """
    steps: dict[Key, list[Step]] = {}
    for event, _, facts in interpreted:
        for fact in facts:
            key = key_of(fact)
            if (key.kind, key.id, event.id) in loaded.repeated:
                continue
            taken = steps.setdefault(key, [])
            old, version = (taken[-1].new, taken[-1].version) if taken else states.get(key, (None, 0))
            taken.append(Step(event, old, fold(old, fact), version + 1, is_contested(old, fact)))
    return steps


def claims_of(steps: Mapping[Key, Sequence[Step]]) -> Claims:
    """Return the claims that the payments among the steps have on `reconciliations`."""
    made: list[Paid] = []
    dropped: list[tuple[str, str]] = []
    unnamed: set[str] = set()
    for taken in steps.values():
        first, last = taken[0].old, taken[-1].new
        if not isinstance(last, PaymentState):
            continue
        before, after = claim_of(first), claim_of(last)
        if after is not None and after != before:
            made.append(after)
            if before is not None and before.reference != after.reference:
                dropped.append((before.reference, before.payment_id))
        elif last.user is None:
            unnamed.add(last.reference)
    return Claims(made, dropped, sorted(unnamed))


def claim_of(state: State | None) -> Paid | None:
    """Return the paid half of a pair, once the payment is captured and its amount has a currency."""
    if not isinstance(state, PaymentState) or state.settled is None or not state.money.whole:
        return None
    return Paid(state.reference, state.id, *state.money)


class _Piece(NamedTuple):
    """News of a step, and its recipient; `published` is true if an earlier step has published it without notifying the payer."""

    record: msgspec.Struct
    to: news.Payer | None = None
    published: bool = False


_News = list[_Piece]


def emitted(steps: Mapping[Key, Sequence[Step]], saved: Saved) -> list[Event]:
    """Return the events that the steps emit, each aggregate's in order, with the notification right after its news."""
    events: list[Event] = []
    payments = _payments_after(steps)
    for key, taken in steps.items():
        for step in taken:
            found = _news_of(step, saved, payments)
            if found:
                trace = parse_traceparent(step.event.traceparent) or new_trace()
                events.extend(event for piece in found for event in _events(key, step, piece, trace))
    return events


_Payments = Mapping[tuple[str, UUID], PaymentState]
"""The state of payments after an event, by their id and the event's."""


def _payments_after(steps: Mapping[Key, Sequence[Step]]) -> _Payments:
    """Return the payments after each event, if the batch has refunds: their news include their payments."""
    if not any(key.kind == "refund" for key in steps):
        return {}
    taken = (step for each in steps.values() for step in each)
    return {(step.new.id, step.event.id): step.new for step in taken if isinstance(step.new, PaymentState)}


def _news_of(step: Step, saved: Saved, payments: _Payments) -> _News:
    match step.new:
        case PaymentState() as new:
            return _payment_news(new, step, saved)
        case RefundState() as new:
            return _refund_news(new, step, saved, payments)
        case DisputeState() as new:
            return _dispute_news(new, step)
        case SubscriptionState() as new:
            kinds = news.subscription_news(step.old if isinstance(step.old, SubscriptionState) else None, new)
            return [_Piece(_record(kind, step, news.subscription_fields(new))) for kind in kinds]
        case InvoiceState() as new:
            to = news.Payer(news.value_of(new.user), news.value_of(new.contact))
            failures = news.invoice_news(step.old if isinstance(step.old, InvoiceState) else None, new)
            return [_Piece(_record(kind, step, news.invoice_fields(new)), to) for kind in failures]


def _record(kind: Callable[..., msgspec.Struct], step: Step, fields: Mapping[str, Any]) -> msgspec.Struct:
    return kind(**fields, version=step.version, livemode=step.new.livemode, account=step.new.account)


def _refund_news(new: RefundState, step: Step, saved: Saved, payments: _Payments) -> _News:
    kinds = news.refund_news(step.old if isinstance(step.old, RefundState) else None, new)
    if not kinds:
        return []
    payment = payments.get((news.value_of(new.payment) or "", step.event.id))
    fields = news.refund_fields(new, payment, saved.users.get(payment.reference) if payment else None)
    to = news.Payer(fields["user_id"], news.value_of(payment.contact) if payment else None)
    return [_Piece(_record(kind, step, fields), to) for kind in kinds]


def _dispute_news(new: DisputeState, step: Step) -> _News:
    old = step.old if isinstance(step.old, DisputeState) else None
    kinds = news.dispute_news(old, new)
    found = [_Piece(_record(kind, step, news.dispute_fields(new))) for kind in kinds]
    alert = news.alert_of(old, new)
    return [*found, _Piece(alert)] if alert else found


def _payment_news(new: PaymentState, step: Step, saved: Saved) -> _News:
    old = step.old if isinstance(step.old, PaymentState) else None
    kinds = news.payment_news(old, new)
    expected = _unmet_expectation(step, saved)
    late = billing.PaymentFailed not in kinds and new.is_failure_final and not (old and old.is_failure_final)
    if not kinds and expected is None and not late:
        return []
    fields = news.payment_fields(new, saved.users.get(new.reference))
    to = news.Payer(fields["user_id"], news.value_of(new.contact))
    found = [
        _Piece(_record(kind, step, fields), None if kind is billing.PaymentFailed and not new.is_failure_final else to)
        for kind in kinds
    ]
    if late:
        found.append(_Piece(_record(billing.PaymentFailed, step, fields), to, published=True))
    if expected is not None:
        amount, currency = expected
        fields |= {"expected_amount": amount, "expected_currency": currency}
        found.append(_Piece(_record(billing.PaymentMismatched, step, fields)))
    return found


def _unmet_expectation(step: Step, saved: Saved) -> tuple[int, str] | None:
    """Return the expectation that this step does not meet; a batch settles a payment once, with its last claim."""
    claim = claim_of(step.new)
    pair = saved.pairs.get(claim.payment_id) if claim else None
    if claim is None or pair is None or claim == claim_of(step.old):
        return None
    settled = claim == Paid(pair.reference, pair.payment_id, pair.paid_amount, pair.paid_currency)
    if not settled or pair.outcome != "mismatched" or pair.expected_amount is None or pair.expected_currency is None:
        return None
    return pair.expected_amount, pair.expected_currency


def _events(key: Key, step: Step, piece: _Piece, trace: Trace) -> list[Event]:
    event, record = step.event, piece.record
    events = (
        []
        if piece.published
        else [
            event_of(
                record,
                aggregate_id=record.alert if isinstance(record, AlertRaised) else key.id,
                source=SOURCE,
                occurred_at=event.occurred_at,
                trace=trace,
                version=None if isinstance(record, AlertRaised) else step.version,
                causation_id=event.id,
                livemode=step.new.livemode,
                account=step.new.account,
            )
        ]
    )
    command = news.notification_of(record, piece.to)
    if command is not None:
        events.append(
            event_of(
                command,
                aggregate_id=str(new_id()),
                source=SOURCE,
                occurred_at=event.occurred_at,
                trace=trace,
                causation_id=event.id,
                livemode=step.new.livemode,
                account=step.new.account,
            )
        )
    return events
