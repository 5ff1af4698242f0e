"""`tallyhook endpoints import`: adds or changes many endpoints from one file, all of them or none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from operations.endpoints.command import app
from operations.endpoints.shell import current_terms, note, registry_of_settings
from operations.files import is_csv, read_rows
from operations.imports import DryRun, File, import_rows, kept_terms, text_of
from operations.output import Json, operator, show

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from psycopg import AsyncConnection

    from operations.endpoints.registry import Changed, Name, Registry


@app.command("import")
def import_endpoints(path: File, *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """
    Add or change many endpoints in one transaction: all of them, or none if any has a fault.

    Each has a `provider`, an `id`, and the fields of `PUT /v1/admin/endpoints/{provider}/{id}`: label, mode, and in JSON
    `secrets`. An object of JSON replaces label and mode, as that call does; a line of CSV keeps what has no column, and an empty
    field removes a label or mode. In CSV, `secret` is the only secret. Delete the file afterwards if it contains secrets.
    """
    from operations.endpoints.registry import Name

    registry, csv = registry_of_settings(), is_csv(path)

    def read(row: dict[str, Any]) -> tuple[str, Callable[[AsyncConnection], Awaitable[Changed]]]:
        name = Name(text_of(row, "provider"), text_of(row, "id"))
        if secret := row.pop("secret", None):
            row.setdefault("secrets", [secret])
        return name.place, partial(_put, registry=registry, name=name, row=row, csv=csv)

    changed = import_rows("endpoint", read_rows(path, columns=("provider", "id")), read, note, dry_run=dry_run)
    added = sum(each.was == "created" for each in changed)
    text = f"{added} endpoints {'would be' if dry_run else 'are'} added, {len(changed) - added} changed"
    show({"dryRun": dry_run, "added": added, "changed": len(changed) - added}, text, as_json=as_json)


async def _put(connection: AsyncConnection, *, registry: Registry, name: Name, row: dict[str, Any], csv: bool) -> Changed:
    from operations.endpoints.registry import PutEndpoint
    from operations.faults import read_fields

    asked, faults = read_fields(PutEndpoint, kept_terms(row, await current_terms(connection, name), csv=csv))
    return await registry.put(connection, name, asked, operator(), faults)
