"""A state as the row that keeps it, and back: `state` holds all of it, the typed columns what others read, join and check."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from streams.payments.news import time_of, value_of
from streams.payments.states import DisputeState, InvoiceState, PaymentState, RefundState, State, SubscriptionState
from streams.payments.store import Held, Key, Kind

# The refunds of a payment in one order, whichever came first: a rebuilt row equals the live one to the byte.
_encoder: Final = msgspec.json.Encoder(order="deterministic")
_DECODERS: Final[dict[Kind, msgspec.json.Decoder[State]]] = {
    "payment": msgspec.json.Decoder[State](PaymentState),
    "refund": msgspec.json.Decoder[State](RefundState),
    "dispute": msgspec.json.Decoder[State](DisputeState),
    "subscription": msgspec.json.Decoder[State](SubscriptionState),
    "invoice": msgspec.json.Decoder[State](InvoiceState),
}


def stored(state: State) -> bytes:
    """The form of a state that `state_in` reads back."""
    return _encoder.encode(state)


def state_in(key: Key, row: Held) -> State:
    return _DECODERS[key.kind].decode(row.state)


def row_of(state: State, version: int) -> tuple[Any, ...]:
    """The values of the aggregate's table, in the order of its columns."""
    match state:
        case PaymentState():
            columns = _payment(state)
        case RefundState():
            columns = _refund(state)
        case DisputeState():
            columns = _dispute(state)
        case SubscriptionState():
            columns = _subscription(state)
        case InvoiceState():
            columns = _invoice(state)
    # The time of the provider, not of the clock: a rebuilt row equals the live one.
    updated_at = datetime.fromtimestamp(state.updated, tz=UTC)
    return (state.provider, state.id, *columns, version, updated_at, stored(state), state.livemode, state.account)


def _payment(state: PaymentState) -> tuple[Any, ...]:
    money = state.money
    return (
        state.status,
        money.amount,
        state.amount_refunded,
        money.currency,
        state.reference,
        value_of(state.customer),
        value_of(state.user),
        value_of(state.invoice),
        value_of(state.subscription),
    )


def _refund(state: RefundState) -> tuple[Any, ...]:
    reason, failure, payment = value_of(state.reason), value_of(state.failure), value_of(state.payment)
    return state.fate.status, *state.money, reason, failure, payment


def _dispute(state: DisputeState) -> tuple[Any, ...]:
    respond_by = time_of(state.respond_by.at if state.respond_by else None)
    return state.fate.status, *state.money, value_of(state.reason), value_of(state.funds), respond_by, value_of(state.payment)


def _subscription(state: SubscriptionState) -> tuple[Any, ...]:
    return state.standing.status, value_of(state.customer), time_of(state.standing.current_period_end)


def _invoice(state: InvoiceState) -> tuple[Any, ...]:
    money = state.money
    return (
        state.status,
        money.amount,
        state.amount_paid,
        money.currency,
        value_of(state.customer),
        value_of(state.subscription),
        value_of(state.payment),
    )
