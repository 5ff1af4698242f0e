"""
State as a pure fold over facts: the same for every order and any repetition.

That holds because each part of a state is a maximum over a total order (most by stamp, some by a lifecycle or an amount), and a
maximum depends on neither repetition nor order. What a reader sees (`status`, `amount`, …) is computed from the parts.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from streams.payments.facts import (
    UNSTATED,
    DisputeFact,
    Fact,
    InvoiceFact,
    InvoicePhase,
    Money,
    PaymentFact,
    RefundFact,
    Stamp,
    SubscriptionFact,
)
from streams.payments.refunds import latest, merge
from streams.payments.states import (
    DisputeState,
    Fate,
    Flag,
    InvoiceState,
    Known,
    Moment,
    PaymentState,
    Reached,
    RefundState,
    Snapshot,
    State,
    Stated,
    SubscriptionState,
)

Part = TypeVar("Part", Known, Flag, Reached, Moment)


def fold_payment(state: PaymentState | None, fact: PaymentFact) -> PaymentState:
    known = state or PaymentState(provider=fact.provider, id=fact.id)
    stamp = fact.stamp
    canceled = fact.progress == "canceled"
    captured = _best(known.captured, _stated(stamp, fact.captured))
    return PaymentState(
        **_origin(known, fact),
        updated=max(known.updated, stamp.at),
        reached=_latest(known.reached, None if fact.progress is None or canceled else Reached(stamp, fact.progress)),
        own_failure=max(filter(None, (known.own_failure, _own_failure(fact))), default=None),
        canceled=known.canceled or canceled,
        captured=captured,
        captured_first=_captured_first(known, fact, captured),
        vouched=_best(known.vouched, _stated(stamp, fact.vouched)),
        refunded=latest(known.refunded, fact.refunded),
        refunds=merge(known.refunds, stamp, fact.refunds) if fact.refunds else known.refunds,
        refunded_whole=latest(known.refunded_whole, fact.refunded_whole),
        unreleased=max(filter(None, (known.unreleased, fact.unreleased)), default=None),
        refunded_before=known.refunded_before,
        requested=_best(known.requested, _stated(stamp, fact.requested)),
        hinted=_best(known.hinted, _stated(stamp, fact.hinted)),
        **_names(known, fact),
        contact=_latest(known.contact, _known(stamp, fact.contact)),
        invoice=_latest(known.invoice, _known(stamp, fact.invoice_id)),
        subscription=_latest(known.subscription, _known(stamp, fact.subscription_id)),
    )


def _captured_first(known: PaymentState, fact: PaymentFact, captured: Stated | None) -> int | None:
    times = (known.captured_since, None if fact.captured is None else fact.stamp.at)
    first = min((at for at in times if at is not None), default=None)
    return None if captured is None or first == captured.stamp.at else first


def _names(known: PaymentState, fact: PaymentFact) -> dict[str, Any]:
    """Return the payment's own names and those that other objects hint at; the fact adds to one of the two."""
    stated = {"reference": fact.reference, "customer": fact.customer_id, "user": fact.user_id}
    origin = "hinted" if fact.second_hand else "own"
    kept = {f"{each}_{name}": getattr(known, f"{each}_{name}") for each in ("own", "hinted") for name in stated}
    new = {f"{origin}_{name}": _known(fact.stamp, value) for name, value in stated.items()}
    return {name: _latest(value, new.get(name)) for name, value in kept.items()}


def _own_failure(fact: PaymentFact) -> Stamp | None:
    return fact.stamp if fact.progress == "failed" and not fact.witnessed else None


def fold_refund(state: RefundState | None, fact: RefundFact) -> RefundState:
    stamp, fate = fact.stamp, Fate(fact.stamp, fact.status, fact.gone)
    known = state or RefundState(provider=fact.provider, id=fact.id, fate=fate)
    return RefundState(
        **_origin(known, fact),
        fate=max(known.fate, fate, key=_finality),
        updated=max(known.updated, stamp.at),
        stated=_best(known.stated, _stated(stamp, None if fact.amount == UNSTATED else fact.amount)),
        reason=_latest(known.reason, _known(stamp, fact.reason)),
        failure=_latest(known.failure, _known(stamp, fact.failure_reason)),
        payment=_latest(known.payment, _known(stamp, fact.payment_id)),
    )


def _finality(fate: Fate) -> tuple[bool, Fate]:
    """A refund that failed or was canceled stays so, whichever events follow."""
    return fate.final, fate


def fold_dispute(state: DisputeState | None, fact: DisputeFact) -> DisputeState:
    """A dispute that was closed may be opened again: its latest status counts."""
    stamp, fate = fact.stamp, Fate(fact.stamp, fact.status, fact.ended)
    respond_by = None if fact.respond_by is None else Moment(stamp, fact.respond_by)
    known = state or DisputeState(provider=fact.provider, id=fact.id, fate=fate)
    return DisputeState(
        **_origin(known, fact),
        fate=max(known.fate, fate),
        updated=max(known.updated, stamp.at),
        stated=_best(known.stated, _stated(stamp, None if fact.amount == UNSTATED else fact.amount)),
        reason=_latest(known.reason, _known(stamp, fact.reason)),
        stated_funds=_latest(known.stated_funds, _known(stamp, fact.funds)),
        withdrawn=known.withdrawn or fact.funds == "withdrawn",
        respond_by=_latest(known.respond_by, respond_by),
        payment=_latest(known.payment, _known(stamp, fact.payment_id)),
    )


def fold_subscription(state: SubscriptionState | None, fact: SubscriptionFact) -> SubscriptionState:
    newest = Snapshot(fact.stamp, fact.status, fact.ended, fact.current_period_end, fact.before)
    snapshots = {newest, state.current, *state.rivals} if state else {newest}
    second = max(snapshot.stamp.at for snapshot in snapshots)
    rivals = sorted((snapshot for snapshot in snapshots if snapshot.stamp.at == second), key=_stamp_of)
    current = _last_of(rivals)
    return SubscriptionState(
        **_origin(state, fact),
        current=current,
        rivals=tuple(rival for rival in rivals if rival != current),
        customer=_latest(state.customer if state else None, _known(fact.stamp, fact.customer_id)),
    )


def _last_of(rivals: Iterable[Snapshot]) -> Snapshot:
    """
    Return the last of several snapshots of one second.

    An end is the last. Otherwise a snapshot is not the last if another one states its values as the previous ones. If that leaves
    several, or none because they form a circle, the rank of the stamp decides.
    """
    return max(candidates_of(rivals), key=_stamp_of)


def candidates_of(rivals: Iterable[Snapshot]) -> list[Snapshot]:
    """Return those of several snapshots of one second that may be the last."""
    snapshots = list(rivals)
    ends = [snapshot for snapshot in snapshots if snapshot.ended]
    return ends or [each for each in snapshots if not any(_follows(other, each) for other in snapshots)] or snapshots


def _stamp_of(snapshot: Snapshot) -> Stamp:
    return snapshot.stamp


def _follows(later: Snapshot, earlier: Snapshot) -> bool:
    """Return True if the previous values that the later one states are the values of the earlier one."""
    changes = [
        (was, had)
        for was, had, has in (
            (later.before.status, earlier.status, later.status),
            (later.before.current_period_end, earlier.current_period_end, later.current_period_end),
        )
        if was is not None and was != has
    ]
    return bool(changes) and all(was == had for was, had in changes)


_PHASES: Final[dict[InvoicePhase | None, int]] = {None: 0, "draft": 1, "open": 2, "uncollectible": 3, "void": 4, "paid": 5}


def fold_invoice(state: InvoiceState | None, fact: InvoiceFact) -> InvoiceState:
    known = state or InvoiceState(provider=fact.provider, id=fact.id)
    stamp = fact.stamp
    return InvoiceState(
        **_origin(known, fact),
        updated=max(known.updated, stamp.at),
        phase=max(known.phase, fact.phase, key=lambda phase: _PHASES[phase]),
        failed_attempt=max(known.failed_attempt, fact.attempt) if fact.failed else known.failed_attempt,
        failed=max(filter(None, (known.failed, stamp if fact.failed else None)), default=None),
        billed=_best(known.billed, _stated(stamp, fact.billed)),
        hinted=_best(known.hinted, _stated(stamp, fact.hinted)),
        amount_paid=max(known.amount_paid, fact.amount_paid),
        customer=_latest(known.customer, _known(stamp, fact.customer_id)),
        user=_latest(known.user, _known(stamp, fact.user_id)),
        contact=_latest(known.contact, _known(stamp, fact.contact)),
        subscription=_latest(known.subscription, _known(stamp, fact.subscription_id)),
        payment=_latest(known.payment, _known(stamp, fact.payment_id)),
    )


def fold(state: State | None, fact: Fact) -> State:
    """Return the state after one more fact; the caller pairs states and facts of one aggregate."""
    match fact:
        case PaymentFact():
            return fold_payment(state if isinstance(state, PaymentState) else None, fact)
        case RefundFact():
            return fold_refund(state if isinstance(state, RefundState) else None, fact)
        case DisputeFact():
            return fold_dispute(state if isinstance(state, DisputeState) else None, fact)
        case SubscriptionFact():
            return fold_subscription(state if isinstance(state, SubscriptionState) else None, fact)
        case InvoiceFact():
            return fold_invoice(state if isinstance(state, InvoiceState) else None, fact)


def _origin(known: State | None, fact: Fact) -> dict[str, Any]:
    """Return the mode and the account of the state. An event that does not state them changes neither."""
    return {
        "provider": fact.provider,
        "id": fact.id,
        "live": _latest(known.live if known else None, None if fact.livemode is None else Flag(fact.stamp, fact.livemode)),
        "of_account": _latest(known.of_account if known else None, _known(fact.stamp, fact.account)),
    }


def _latest(known: Part | None, other: Part | None) -> Part | None:
    if known is None or other is None:
        return other if known is None else known
    return max(known, other)


def _best(known: Stated | None, other: Stated | None) -> Stated | None:
    """Return the latest amount with a currency, if there is one: an event without a currency does not replace it."""
    if known is None or other is None:
        return other if known is None else known
    return max(known, other, key=_completeness)


def _completeness(stated: Stated) -> tuple[bool, Stated]:
    return stated.money.whole, stated


def _known(stamp: Stamp, value: str | None) -> Known | None:
    return None if value is None else Known(stamp, value)


def _stated(stamp: Stamp, money: Money | None) -> Stated | None:
    return None if money is None else Stated(stamp, money)


# The values by another object count only until the aggregate states its own, so fetching it would decide nothing.
_SECOND_HAND: Final = frozenset({"hinted", "vouched", "hinted_reference", "hinted_customer", "hinted_user"})


def is_contested(old: State | None, fact: Fact) -> bool:
    """Return True if the fact cannot be put in order with what the state has from an event of the same second."""
    if old is None or fact.stamp.at > old.updated:
        return False
    if isinstance(fact, SubscriptionFact):
        return _is_open(fold(old, fact), fact)
    stated = fold(None, fact)
    names = (field.name for field in msgspec.structs.fields(old) if field.name not in _SECOND_HAND)
    return any(_differ(getattr(old, name), getattr(stated, name)) for name in names)


def _is_open(new: State, fact: SubscriptionFact) -> bool:
    """Return True if the order of a subscription's events is undecided: an event's previous values may have decided it."""
    if not isinstance(new, SubscriptionState) or fact.stamp.at != new.current.stamp.at:
        return False
    last = candidates_of((new.current, *new.rivals))
    return len({(each.status, each.current_period_end) for each in last}) > 1


def _differ(had: Any, stated: Any) -> bool:
    """Return True if two parts of a state have stamps of one second and one rank, but other events and other values."""
    if not isinstance(had, tuple) or not isinstance(stated, tuple) or not had or not stated:
        return False
    stamp, other = getattr(had, "stamp", None), getattr(stated, "stamp", None)
    if stamp is None or other is None or stamp[:2] != other[:2] or stamp.event == other.event:
        return False
    return had[1:] != stated[1:]
