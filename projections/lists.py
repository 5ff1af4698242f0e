"""
The lists of current state, newest first: payments, subscriptions, invoices, leads and notifications.

A page reads one index from where the page before ended, and skips rows that do not match. It reads no more than `ROWS_READ_MAX`
rows, so that its cost does not grow with the table: where few rows match, a page is short or even empty, and the next one
begins after `last`.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from projections.list_items import InvoiceItem, LeadItem, NotificationItem, PaymentItem, SubscriptionItem
from schemas.envelope import EARLIEST, LATEST

ROWS_READ_MAX: Final = 20_000
ROWS_JOINED_MAX: Final = 5_000
"""Rows that a page reads if its filter is of a joined table: each row costs a look-up at a random place of that table."""

Item = TypeVar("Item", bound=msgspec.Struct)
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

Key = tuple[Any, ...]
"""The place of a row in the order of its list."""


class ListQuery(NamedTuple):
    """
    A query for the rows of a page: those of the period that come after `last` and have these values, `limit` of them at most.

    Payments, subscriptions and invoices are listed by the time of their last change, leads and notifications by the time at which
    they arrived. `values` are by the names of the list's filters.
    """

    first: Any
    before: Any
    limit: int
    last: Key | None = None
    values: Mapping[str, Any] = _NOTHING


class ListPage(NamedTuple, Generic[Item]):
    """The items of a page, and the key after which the next page begins; None on the last page."""

    items: list[Item]
    last: Key | None


class List(NamedTuple, Generic[Item]):
    """A list: its table, its order, and the conditions that a query can set."""

    item: type[Item]
    table: str
    order: tuple[str, ...]
    columns: str
    tests: Mapping[str, str]  #: By filter: the condition on a row that was read.
    walks: Mapping[str, str] = _NOTHING  #: By filter: the condition that has an index in the list's order.
    few: Mapping[str, str] = _NOTHING  #: By filter: the condition that finds few rows by its own index.
    joined: str = ""
    joined_tests: Mapping[str, str] = _NOTHING  #: By filter: the condition on the tables that are joined to the row.


async def read(connection: AsyncConnection, which: List[Item], asked: ListQuery) -> ListPage[Item]:
    """Read a page of the list."""
    looked = rows_read(which, asked.values.keys())
    values = {**asked.values, "first": asked.first, "before": asked.before, "looked": looked, "more": asked.limit + 1}
    onward = asked.last is not None and asked.last[0] < asked.before  # otherwise the page before ended after this period
    if onward:
        values |= {f"last_{name}": value for name, value in zip(which.order, asked.last or (), strict=True)}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement(which, asked.values.keys(), onward=onward), values, prepare=False)
        rows = await cursor.fetchall()
    fitting = [row for row in rows if row["fits"]]
    items = [msgspec.convert(_fields(which, row), which.item) for row in fitting[: asked.limit]]
    if len(fitting) > asked.limit:
        return ListPage(items, _key(which, fitting[asked.limit - 1]))
    return ListPage(items, _key(which, rows[-1]) if rows and rows[-1]["place"] == looked else None)


def rows_read(which: List[Any], names: Collection[str]) -> int:
    """Return how many rows a page with these filters reads at most."""
    return min(ROWS_READ_MAX, ROWS_JOINED_MAX) if which.joined_tests.keys() & names else ROWS_READ_MAX


def statement(which: List[Any], names: Collection[str], *, onward: bool) -> str:
    """Return the SQL of a page with these filters; `onward` if it comes after the last row of a page of this period."""
    first, order = which.order[0], ", ".join(f"{name} desc" for name in which.order)
    # There is only one upper bound: with two, Postgres begins at the one of the first column, and reads down to the other.
    after = f"({', '.join(which.order)}) < ({', '.join(f'%(last_{name})s' for name in which.order)})"
    scope = [f"{first} >= %(first)s", after if onward else f"{first} < %(before)s"]
    scope += [which.walks[name] for name in names if name in which.walks]
    few = [which.few[name] for name in names if name in which.few]
    # The few rows are found before anything else: the planner would read the whole order in the hope of finding them early.
    source = f"(select * from {which.table} where {' and '.join(few)} offset 0) few" if few else which.table
    tests = [which.tests[name] for name in names if name in which.tests]
    late = [which.joined_tests[name] for name in names if name in which.joined_tests]
    newest = ", ".join(f"w.{name} desc" for name in which.order)
    # A window and not a sort: the rows come in its order, and only as many are computed as the page takes. Tables are joined only
    # to the rows that match so far, and not to all that are read.
    return f"""
        select * from (
          select {which.columns}, {", ".join(f"w.{name} as key_{name}" for name in which.order)},
            {" and ".join(["w.fits", *late])} as fits, w.place
          from (
            select w.*, {" and ".join(tests) or "true"} as fits, row_number() over (order by {newest}) as place
            from (select * from {source} where {" and ".join(scope)} order by {order} limit %(looked)s) w) w {which.joined}
          where w.fits or w.place = %(looked)s) rows
        where fits or place = %(looked)s order by {", ".join(f"key_{name} desc" for name in which.order)} limit %(more)s
    """


def _fields(which: List[Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return the item's fields without nulls. A time that RFC 3339 cannot express becomes the nearest one."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(which.item)}
    return {
        names[name]: min(max(value, EARLIEST), LATEST) if isinstance(value, datetime) else value
        for name, value in row.items()
        if name in names and value is not None
    }


def _key(which: List[Any], row: dict[str, Any]) -> Key:
    return tuple(row[f"key_{name}"] for name in which.order)


_CHANGED: Final = ("updated_at", "id", "provider")
_OF_MONEY: Final = {
    "status": "w.status = %(status)s",
    "provider": "w.provider = %(provider)s",
    "customer": "w.customer_id = %(customer)s",
    "livemode": "w.livemode = %(livemode)s",
    "account": "w.account = %(account)s",
}

# A reference belongs to another payment once that one is paid under it. The payer may be known from the expectation alone.
OF_USER: Final = """
select id from payments where user_id = %(user)s union
select p.id from reconciliations r join payments p on p.reference = r.reference
where r.user_id = %(user)s and (r.payment_id is null or r.payment_id = p.id)
"""
"""The ids of the payments of a user, or those that the user was expected to pay."""
PAYMENTS: Final = List(
    item=PaymentItem,
    table="payments",
    order=_CHANGED,
    columns="""w.provider, w.id as provider_payment_id, w.status, w.amount, w.amount_refunded, w.currency, w.reference,
      w.customer_id, coalesce(w.user_id, r.user_id) as user_id, w.invoice_id,
      coalesce(w.subscription_id, i.subscription_id) as subscription_id, r.expected_amount, r.expected_currency,
      r.reconciliation, w.version, w.updated_at, w.livemode, w.account""",
    joined="""
      left join lateral (
        select i.subscription_id from invoices i where i.id = w.invoice_id and i.provider = w.provider limit 1) i on true
      cross join lateral (
        select max(r.expected_amount) as expected_amount, max(r.expected_currency) as expected_currency,
          max(r.user_id) as user_id,
          case when max(r.expected_amount) is null then 'unexpected'
               when max(r.expected_amount) = w.amount and max(r.expected_currency) = w.currency then 'matched'
               else 'mismatched' end as reconciliation
        from reconciliations r
        where r.reference = w.reference and (r.payment_id is null or r.payment_id = w.id)) r""",
    tests={
        **_OF_MONEY,
        "currency": "w.currency = %(currency)s",
    },
    joined_tests={"reconciliation": "r.reconciliation = %(reconciliation)s"},
    few={
        "user": f"id = any(array({OF_USER}))",
    },
)
SUBSCRIPTIONS: Final = List(
    item=SubscriptionItem,
    table="subscriptions",
    order=_CHANGED,
    columns="w.provider, w.id, w.status, w.customer_id, w.current_period_end, w.version, w.updated_at, w.livemode, w.account",
    tests=_OF_MONEY,
)
INVOICES: Final = List(
    item=InvoiceItem,
    table="invoices",
    order=_CHANGED,
    columns="""w.provider, w.id, w.status, w.amount_due, w.amount_paid, w.currency, w.customer_id, w.subscription_id,
      w.payment_id, w.version, w.updated_at, w.livemode, w.account""",
    tests={
        **_OF_MONEY,
        "currency": "w.currency = %(currency)s",
        "subscription": "w.subscription_id = %(subscription)s",
    },
)
LEADS: Final = List(
    item=LeadItem,
    table="leads",
    order=("id",),
    columns="""w.id, w.partner_id, w.external_lead_id, w.status, w.attempts, w.failures, w.version, w.received_at, w.updated_at,
      w.next_attempt_at, w.suppressed""",
    tests={"status": "w.status = %(status)s"},
    walks={"partner": "partner = %(partner)s"},
)
NOTIFICATIONS: Final = List(
    item=NotificationItem,
    table="notifications",
    order=("id",),
    columns="""w.id, w.recipient as "to", w.channel, w.template, w.status, w.attempts, w.updated_at, w.next_attempt_at,
      w.reason""",
    tests={"status": "w.status = %(status)s", "channel": "w.channel = %(channel)s", "template": "w.template = %(template)s"},
    walks={"user": "recipient = %(user)s"},
)
