"""
The two sides of one object: its row here, and the row that the provider's present state alone would make.

Both are the same fold's, so a difference is never one of words. Pure functions.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from operations.reconcile.lists import Found
from projections.tables import disputes, invoices, payments, refunds, subscriptions
from runtime.ids import new_id
from schemas.foreign_json import Decoder
from schemas.stripe import SOURCE, StripeEvent
from schemas.stripe_snapshots import Answer, StripeObject, snapshot_of
from streams.payments.fold import fold
from streams.payments.states import State
from streams.payments.steps import key_of
from streams.payments.store import Kind, row_of
from streams.payments.stripe import facts_of

Row = Mapping[str, Any]


class Compared(NamedTuple):
    """A kind of Stripe's objects, what it is to us, and the columns of its table that are compared."""

    kind: str
    ours: Kind
    fields: tuple[str, ...]


_PAYMENT: Final = ("status", "amount", "amount_refunded", "currency")
COMPARED: Final = (
    Compared("payment_intent", "payment", _PAYMENT),
    Compared("charge", "payment", _PAYMENT),
    Compared("refund", "refund", ("status", "amount", "currency", "payment_id")),
    Compared("dispute", "dispute", ("status", "amount", "currency")),
    Compared("invoice", "invoice", ("status", "amount_due", "amount_paid", "currency")),
    Compared("subscription", "subscription", ("status", "current_period_end")),
)
TABLES: Final = {
    "payment": payments, "refund": refunds, "dispute": disputes, "invoice": invoices, "subscription": subscriptions,
}  # fmt: skip
_NAMES: Final = {kind: [column.name for column in table.columns] for kind, table in TABLES.items()}
# Stripe has no word for an open invoice whose last attempt failed, which we have from an event.
_SAME: Final = {("invoice", "status", "payment_failed"): "open"}


class Theirs(NamedTuple):
    """The provider's side: the events of its state, and the row that they make; no row where they do not state the object."""

    id: str
    events: Sequence[bytes]
    row: Row | None


class _Intent(msgspec.Struct, frozen=True):
    latest_charge: msgspec.Raw = msgspec.Raw(b"null")


class _Charge(msgspec.Struct, frozen=True):
    payment_intent: Any = None


_object: Final = Decoder(StripeObject)
_intent: Final = Decoder(_Intent)
_charge: Final = Decoder(_Charge)
_event: Final = Decoder(StripeEvent)


def is_part_of_another(found: Found) -> bool:
    """True for a charge of an intent, which is compared with that. Raises msgspec.DecodeError."""
    return found.kind == "charge" and bool(_charge.decode(found.body).payment_intent)


def unexpanded_charge(found: Found) -> str | None:
    """The id of the charge behind an intent, where the list has not put it in. Raises msgspec.DecodeError."""
    charge = _charge_in(found)
    return msgspec.json.decode(charge, type=str) if charge.startswith(b'"') else None


def _charge_in(found: Found) -> bytes:
    """The row as JSON, null where there is none."""
    return bytes(_intent.decode(found.body).latest_charge) if found.kind == "payment_intent" else b"null"


def theirs_of(compared: Compared, found: Found, charge: Found | None = None, account: str | None = None) -> Theirs:
    """The provider's side of an object, with its charge beside it. Raises msgspec.DecodeError, Poison."""
    bodies = [found.body]
    if charge is not None:
        bodies.append(charge.body)
    elif (inside := _charge_in(found)).startswith(b"{"):
        bodies.append(inside)
    events = [event for body in bodies if (event := _event_of(found, body, account))]
    state: State | None = None
    for event in events:
        for fact in facts_of(_event.decode(event).type, event):
            if key_of(fact) == (compared.ours, SOURCE, found.id):
                state = fold(state, fact)
    return Theirs(found.id, events, None if state is None else _columns(compared, state))


def is_deleted(compared: Compared, ours: Row) -> bool:
    """True for an invoice that we know to be deleted, or voided, which is the same to us."""
    return compared.kind == "invoice" and ours["status"] == "void"


def deleted(compared: Compared, object_id: str, ours: Row, at: datetime, account: str | None) -> Theirs | None:
    """
    The provider's side of a draft invoice that it does not have any more (https://docs.stripe.com/api/invoices/delete).

    None for anything else: it cannot have been deleted, so the key, the account or the mode is another.
    """
    if compared.kind != "invoice" or ours["status"] != "draft":
        return None
    gone = msgspec.json.encode({"id": object_id, "object": "invoice", "deleted": True})
    event = StripeEvent(f"reconciled_{new_id().hex}", "invoice.deleted", int(at.timestamp()), account=account)
    body = msgspec.json.encode(msgspec.to_builtins(event) | {"data": {"object": msgspec.Raw(gone)}})
    return Theirs(object_id, [body], {**ours, "status": "void"})


def _event_of(found: Found, body: bytes, account: str | None) -> bytes | None:
    answer = Answer(_object.decode(body), body, found.at, found.api_version, account, found.until)
    return snapshot_of(answer, f"reconciled_{new_id().hex}")


def _columns(compared: Compared, state: State) -> Row:
    row = dict(zip(_NAMES[compared.ours], row_of(state, 0), strict=False))
    return {field: row[field] for field in compared.fields}


def differences(compared: Compared, ours: Row, theirs: Row) -> dict[str, tuple[Any, Any]]:
    """The fields that are not the same, each as we have it and as the provider does."""
    return {
        field: (_plain(ours[field]), _plain(theirs[field]))
        for field in compared.fields
        if _meant(compared, field, ours[field]) != _meant(compared, field, theirs[field])
    }


def _meant(compared: Compared, field: str, value: Any) -> Any:
    return _SAME.get((compared.ours, field, value), value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def plain(row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    return {field: _plain(value) for field, value in row.items()}
