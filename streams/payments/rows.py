"""A state as the row that keeps it, and back: `state` holds all of it, the typed columns what others read, join and check."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from streams.payments.fold import InvoiceState, PaymentState, State, SubscriptionState
from streams.payments.news import time_of, value_of
from streams.payments.store import Held, Key, Kind

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODERS: Final[dict[Kind, msgspec.json.Decoder[State]]] = {
    "payment": msgspec.json.Decoder[State](PaymentState),
    "subscription": msgspec.json.Decoder[State](SubscriptionState),
    "invoice": msgspec.json.Decoder[State](InvoiceState),
}


def state_in(key: Key, row: Held) -> State:
    return _DECODERS[key.kind].decode(row.state)


def row_of(state: State, version: int) -> tuple[Any, ...]:
    """The values of the aggregate's table, in the order of its columns."""
    match state:
        case PaymentState():
            columns = _payment(state)
        case SubscriptionState():
            columns = _subscription(state)
        case InvoiceState():
            columns = _invoice(state)
    # The time of the provider, not of the clock: a rebuilt row equals the live one.
    return (state.provider, state.id, *columns, version, datetime.fromtimestamp(state.updated, tz=UTC), _ENCODE(state))


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
