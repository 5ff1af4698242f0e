"""
The two sides of one object: our row, and the row that the provider's present state alone would make.

Both rows are made by the same fold, so their values can be compared directly. Pure functions.
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
from schemas.stripe_snapshots import Answer, StripeObject, deletion_of, snapshot_of
from streams.payments.fold import fold
from streams.payments.states import State
from streams.payments.steps import key_of
from streams.payments.store import Kind, row_of
from streams.payments.stripe import facts_of

Row = Mapping[str, Any]


class Compared(NamedTuple):
    """A kind of Stripe's objects, our kind for it, and the columns of its table that are compared."""

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
# For Stripe an invoice of which an attempt failed is still open; we know of the failure from an event.
_SAME: Final = {("invoice", "status", "payment_failed"): "open"}


class Theirs(NamedTuple):
    """The provider's side: the events of its state, and the row that they make; None if they do not state the object."""

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
    """Return true for a charge of an intent: it is compared with the intent. Raises msgspec.DecodeError."""
    return found.kind == "charge" and bool(_charge.decode(found.body).payment_intent)


def unexpanded_charge(found: Found) -> str | None:
    """Return the id of an intent's charge if the list does not include the charge itself. Raises msgspec.DecodeError."""
    charge = _charge_in(found)
    return msgspec.json.decode(charge, type=str) if charge.startswith(b'"') else None


def _charge_in(found: Found) -> bytes:
    """Return the charge of an intent as JSON, null if there is none."""
    return bytes(_intent.decode(found.body).latest_charge) if found.kind == "payment_intent" else b"null"


def theirs_of(compared: Compared, found: Found, charge: Found | None = None, account: str | None = None) -> Theirs:
    """Return the provider's side of an object, including its charge. Raises msgspec.DecodeError, Poison."""
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
    """Return true for an invoice that is deleted or voided: both have the same status here."""
    return compared.kind == "invoice" and ours["status"] == "void"


def deleted(compared: Compared, object_id: str, ours: Row, at: datetime, account: str | None) -> Theirs | None:
    """
    Return the provider's side of a deleted draft invoice (https://docs.stripe.com/api/invoices/delete).

    Return None for any other object: it cannot have been deleted, so the key, the account or the mode is a different one.
    """
    if compared.kind != "invoice" or ours["status"] != "draft":
        return None
    body = deletion_of(object_id, f"reconciled_{new_id().hex}", int(at.timestamp()), account=account)
    return Theirs(object_id, [body], {**ours, "status": "void"})


def _event_of(found: Found, body: bytes, account: str | None) -> bytes | None:
    answer = Answer(_object.decode(body), body, found.at, found.api_version, account, found.until)
    return snapshot_of(answer, f"reconciled_{new_id().hex}")


def _columns(compared: Compared, state: State) -> Row:
    row = dict(zip(_NAMES[compared.ours], row_of(state, 0), strict=False))
    return {field: row[field] for field in compared.fields}


def differences(compared: Compared, ours: Row, theirs: Row) -> dict[str, tuple[Any, Any]]:
    """Return the fields that differ, each with our value and the provider's value."""
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
    """Return a row with values that JSON can represent."""
    return {field: _plain(value) for field, value in row.items()}
