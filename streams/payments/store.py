"""
All SQL of the payments worker, over a whole batch at a time, and the rows that keep its states.

Existing rows are locked first, in one order; new rows are inserted last, in the same order. A worker that inserts waits only
for others that insert, so there is no deadlock. If another worker has inserted a row first, the batch starts again.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, AsyncCursor, AsyncPipeline
from sqlalchemy import BigInteger, Boolean, DateTime, LargeBinary, Table, Text

from projections import reconciliation
from projections.reconciliation import Paid, Pair
from projections.tables import disputes, invoices, payments, refunds, subscriptions
from streams.payments.news import time_of, value_of
from streams.payments.states import DisputeState, InvoiceState, PaymentState, RefundState, State, SubscriptionState

Kind = Literal["payment", "refund", "dispute", "subscription", "invoice"]


class Key(NamedTuple):
    """One aggregate."""

    kind: Kind
    provider: str
    id: str


class Line(NamedTuple):
    """An event in the history of an aggregate, in the order of the table's columns."""

    kind: Kind
    id: str
    event_id: UUID
    provider_event_id: str
    type: str
    occurred_at: datetime


class Held(NamedTuple):
    """A row that exists, now locked."""

    version: int
    state: bytes


class Loaded(NamedTuple):
    """The state before the batch; `repeated` are lines that the history had already."""

    held: dict[Key, Held]
    repeated: set[tuple[Kind, str, UUID]]


class Claims(NamedTuple):
    """
    The claims of a batch on `reconciliations`.

    `made` are the halves that payments make now, `dropped` the halves that they made before under another reference (reference,
    payment id), and `unnamed` other references, whose payments name no user: the expected one is needed.
    """

    made: Sequence[Paid]
    dropped: Sequence[tuple[str, str]]
    unnamed: Sequence[str]


class Saved(NamedTuple):
    """The findings of the batch: pairs whose paid half it changed, by payment id, and users expected to pay, by reference."""

    pairs: dict[str, Pair]
    users: dict[str, str]


class _Statements(NamedTuple):
    lock: str
    insert: str
    update: str


_TYPES: Final[dict[type, str]] = {
    Text: "text",
    BigInteger: "int8",
    DateTime: "timestamptz",
    LargeBinary: "bytea",
    Boolean: "bool",
}


def _statements(table: Table) -> _Statements:
    """Return statements that take rows as one array for each column, in the order of the table's columns."""
    names = [column.name for column in table.columns]
    columns = ", ".join(names)
    arrays = ", ".join(f"%b::{_TYPES[type(column.type)]}[]" for column in table.columns)
    rows = f"unnest({arrays}) as v({columns})"
    changes = ", ".join(f"{name} = v.{name}" for name in names if name not in {"id", "provider"})
    return _Statements(
        lock=f"""select provider, id, version, state from {table.name} where id = any(%b::text[])
                 order by id, provider for update""",
        insert=f"""insert into {table.name} ({columns}) select {columns} from {rows} order by id, provider
                   on conflict (id, provider) do nothing""",
        update=f"update {table.name} t set {changes} from {rows} where t.id = v.id and t.provider = v.provider",
    )


_STATEMENTS: Final[dict[Kind, _Statements]] = {
    "payment": _statements(payments),
    "refund": _statements(refunds),
    "dispute": _statements(disputes),
    "subscription": _statements(subscriptions),
    "invoice": _statements(invoices),
}

_ADD_HISTORY: Final = """
insert into history (aggregate_type, aggregate_id, event_id, provider_event_id, type, occurred_at)
select * from unnest(%b::text[], %b::text[], %b::uuid[], %b::text[], %b::text[], %b::timestamptz[])
on conflict do nothing
returning aggregate_type, aggregate_id, event_id
"""


async def load(connection: AsyncConnection, pipeline: AsyncPipeline, keys: Iterable[Key], lines: Sequence[Line]) -> Loaded:
    """Lock the aggregates that exist and write the batch into the history."""
    ids: dict[Kind, list[str]] = {kind: [] for kind in _STATEMENTS}
    for key in keys:
        ids[key.kind].append(key.id)
    locked = [
        (kind, await connection.execute(_STATEMENTS[kind].lock, (wanted,), prepare=True))
        for kind, wanted in ids.items()
        if wanted
    ]
    added = await connection.execute(_ADD_HISTORY, _columns(lines), prepare=True)
    await pipeline.sync()
    held = {
        Key(kind, provider, aggregate_id): Held(version, state)
        for kind, cursor in locked
        for provider, aggregate_id, version, state in await cursor.fetchall()
    }
    return Loaded(held, await _repeated(added, lines))


async def save(
    connection: AsyncConnection,
    pipeline: AsyncPipeline,
    rows: Mapping[Key, tuple[Any, ...]],
    held: Mapping[Key, Held],
    claims: Claims,
) -> Saved | None:
    """
    Write rows, each in the order of its table's columns, and match what was paid with what is expected.

    Rows in `held` are locked, the others are new. Returns None if another transaction inserted one of the new rows first: then
    this attempt must be rolled back.
    """
    inserted: list[tuple[int, AsyncCursor[Any]]] = []
    for kind, statements in _STATEMENTS.items():
        known = [row for key, row in rows.items() if key.kind == kind and key in held]
        new = [row for key, row in rows.items() if key.kind == kind and key not in held]
        if known:
            await connection.execute(statements.update, _columns(known), prepare=True)
        if new:
            inserted.append((len(new), await connection.execute(statements.insert, _columns(new), prepare=True)))
    settled = await reconciliation.settle(connection, claims.made) if claims.made else None
    if claims.dropped:
        await reconciliation.release(connection, claims.dropped)
    expected = await reconciliation.expected_users(connection, claims.unnamed) if claims.unnamed else None
    await pipeline.sync()
    if any(cursor.rowcount != wanted for wanted, cursor in inserted):
        return None
    pairs = {pair.payment_id: pair for pair in await settled.fetchall()} if settled else {}
    users = {pair.reference: pair.user_id for pair in pairs.values() if pair.user_id is not None}
    return Saved(pairs, users | dict(await expected.fetchall() if expected else []))


async def _repeated(added: AsyncCursor[Any], lines: Sequence[Line]) -> set[tuple[Kind, str, UUID]]:
    if added.rowcount == len(lines):
        return set()
    fresh = set(await added.fetchall())
    return {line[:3] for line in lines if line[:3] not in fresh}


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


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
    """Encode a state in the form that `state_in` decodes."""
    return _encoder.encode(state)


def state_in(key: Key, row: Held) -> State:
    return _DECODERS[key.kind].decode(row.state)


def row_of(state: State, version: int) -> tuple[Any, ...]:
    """The values of the aggregate's table, in the order of its columns: `state` holds all of it, the others are for readers."""
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
    return state.fate.status, *state.money, value_of(state.reason), state.funds, respond_by, value_of(state.payment)


def _subscription(state: SubscriptionState) -> tuple[Any, ...]:
    return state.current.status, value_of(state.customer), time_of(state.current.current_period_end)


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
