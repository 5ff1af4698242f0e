"""`tallyhook find`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from operations.find.query import FindQuery
from operations.output import CommandError, Json, show, with_database
from schemas.fields import FieldMalformed, record_of


def find(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="An id of any kind, a trace, a user, or an e-mail address.")],
    as_json: Json = False,
) -> None:
    """Find everything that an id names: a delivery, an event, a payment, a lead, a message, a dead letter, a user, and so on."""
    from operations.find import store

    try:
        query = record_of(FindQuery, [("q", wanted)], lambda _: datetime.now(UTC))
    except FieldMalformed as error:
        raise CommandError(f"ID {error.expected}") from error
    found = with_database(lambda connection: store.find(connection, query))
    lines = [f"{each.kind:13} {each.id:38} {each.title:40} {each.link}" for each in found] or ["nothing has this id"]
    show({"items": [msgspec.to_builtins(each) for each in found]}, "\n".join(lines), as_json=as_json)
