"""
The paid half of `reconciliations`, which the payments worker writes when a payment succeeds.

A reference belongs to one payment. If two payments claim it (it was paid twice), the smaller id gets it, whichever came first,
so that a rebuilt table equals the live one; the other payment is unexpected.
"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import class_row

SOURCE: Final = "/payments"
"""The CloudEvents source of events about reconciliation, from the payments worker and from expectations."""

Outcome = Literal["awaited", "unexpected", "matched", "mismatched"]


class Paid(NamedTuple):
    """The paid amount of a payment, in minor units of its currency."""

    reference: str
    payment_id: str
    amount: int
    currency: str


class Pair(NamedTuple):
    """A row after its paid half changed."""

    reference: str
    payment_id: str
    paid_amount: int
    paid_currency: str
    outcome: Outcome
    expected_amount: int | None
    expected_currency: str | None
    user_id: str | None


# Sorted, like every batch of row locks here, so that two workers never end in a deadlock. The smallest id is found by bytes, as
# `settle` finds it within a batch: a locale would order "pay_Na" before "pay_NB".
_SETTLE: Final = """
insert into reconciliations as r (reference, payment_id, paid_amount, paid_currency)
select * from unnest(%b::text[], %b::text[], %b::int8[], %b::text[]) as v(reference, payment_id, amount, currency)
order by reference
on conflict (reference) do update
set payment_id = excluded.payment_id, paid_amount = excluded.paid_amount, paid_currency = excluded.paid_currency
where r.payment_id is null or r.payment_id collate "C" > excluded.payment_id
   or (r.payment_id = excluded.payment_id
       and (r.paid_amount, r.paid_currency) is distinct from (excluded.paid_amount, excluded.paid_currency))
returning reference, payment_id, paid_amount, paid_currency, outcome, expected_amount, expected_currency, user_id
"""

_RELEASE: Final = """
with v as (select * from unnest(%b::text[], %b::text[]) as v(reference, payment_id)),
dropped as (
  delete from reconciliations r using v
  where r.reference = v.reference and r.payment_id = v.payment_id and r.expected_amount is null)
update reconciliations r set payment_id = null, paid_amount = null, paid_currency = null
from v where r.reference = v.reference and r.payment_id = v.payment_id and r.expected_amount is not null
"""

_EXPECTED_USERS: Final = """
select reference, user_id from reconciliations where reference = any(%b::text[]) and user_id is not null
"""


async def settle(connection: AsyncConnection, payments: Iterable[Paid]) -> AsyncCursor[Pair]:
    """Write the paid halves; the cursor holds the rows that this changed, to be fetched when the caller's pipeline is synced."""
    holders: dict[str, Paid] = {}
    for paid in sorted(payments, key=lambda paid: paid.payment_id):
        holders.setdefault(paid.reference, paid)
    cursor = connection.cursor(row_factory=class_row(Pair))
    columns = [list(column) for column in zip(*holders.values(), strict=True)] or [[], [], [], []]
    await cursor.execute(_SETTLE, columns, prepare=True)
    return cursor


async def release(connection: AsyncConnection, claims: Iterable[tuple[str, str]]) -> None:
    """Remove the paid halves from references that payments no longer name; `claims` are pairs of reference and payment id."""
    references, payments = zip(*claims, strict=True)
    await connection.execute(_RELEASE, (list(references), list(payments)), prepare=True)


async def expected_users(connection: AsyncConnection, references: Iterable[str]) -> AsyncCursor[tuple[str, str]]:
    """Read who is expected to pay: rows of reference and user id, to be fetched after the caller's pipeline is synced."""
    cursor: AsyncCursor[tuple[str, str]] = connection.cursor()
    await cursor.execute(_EXPECTED_USERS, (list(references),), prepare=True)
    return cursor
