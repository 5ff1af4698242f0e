"""`tallyhook payments list`, and likewise of subscriptions, invoices, leads and notifications."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from operations.options import options_from
from operations.output import Json, show, with_database
from operations.state.query import InvoicesQuery, LeadsQuery, NotificationsQuery, PaymentsQuery, StateQuery, SubscriptionsQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection

    from projections.lists import List

_MANY: Final = 100_000
_SHOWN: Final = 50
_PAGE: Final = 500
_SECONDS: Final = len("2026-11-24T10:00:00")
_TIMES: Final = ("At", "End")
_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "payments": ("providerPaymentId", "status", "amount", "currency", "reconciliation", "userId", "updatedAt"),
    "subscriptions": ("id", "status", "customerId", "currentPeriodEnd", "updatedAt"),
    "invoices": ("id", "status", "amountDue", "amountPaid", "currency", "updatedAt"),
    "leads": ("id", "partnerId", "externalLeadId", "status", "attempts", "receivedAt", "nextAttemptAt"),
    "notifications": ("id", "to", "channel", "template", "status", "attempts", "reason"),
}


def _group(name: str, record: type[StateQuery], about: str) -> typer.Typer:
    """Return the group of commands of one list."""
    options = [field.encode_name for field in msgspec.structs.fields(record) if field.name not in {"limit", "cursor"}]

    @options_from(record, *options)
    def list_items(
        asked: StateQuery,
        *,
        limit: Annotated[int, typer.Option(min=1, max=_MANY, help="The maximum number; the newest are listed.")] = _SHOWN,
        as_json: Json = False,
    ) -> None:
        from projections import lists

        which = getattr(lists, name.upper())
        found = with_database(lambda connection: _read(connection, which, asked, limit))
        items = [msgspec.to_builtins(item) for item in found]
        show({"items": items}, _table(name, items), as_json=as_json)

    group = typer.Typer(no_args_is_help=True, help=about)
    group.callback()(lambda: None)  # keeps `list` as a subcommand, although it is the only one
    group.command("list", help=f"List {name}, newest first.")(list_items)
    return group


async def _read(connection: AsyncConnection, which: List[Any], query: StateQuery, limit: int) -> list[Any]:
    """Read up to `limit` items, page by page."""
    from projections import lists

    found: list[Any] = []
    asked = query.list_query(datetime.now(UTC))
    while True:
        page = await lists.read(connection, which, asked._replace(limit=min(limit - len(found), _PAGE)))
        found += page.items
        if page.last is None or len(found) >= limit:
            return found
        asked = asked._replace(last=page.last)


def _table(name: str, items: Sequence[dict[str, Any]]) -> str:
    columns = _COLUMNS[name]
    rows = [[_shown(column, item.get(column)) for column in columns] for item in items]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in [columns, *rows]]
    return "\n".join(lines if rows else [f"no {name} match"])


def _shown(column: str, value: Any) -> str:
    """Return a value as text, and a time to the second: some rows have fractions of it, and others have none."""
    if value is None:
        return "-"
    return f"{value[:_SECONDS]}Z" if column.endswith(_TIMES) else str(value)


payments = _group("payments", PaymentsQuery, "Payments: their states, and whether they were expected.")
subscriptions = _group("subscriptions", SubscriptionsQuery, "Subscriptions and their states.")
invoices = _group("invoices", InvoicesQuery, "Invoices and their states.")
leads = _group("leads", LeadsQuery, "Leads of partners, and how far their delivery is.")
notifications = _group("notifications", NotificationsQuery, "Messages to people, and their states.")
