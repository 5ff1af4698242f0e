"""`tallyhook endpoints import`: adds or changes many endpoints from one file, all of them or none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from operations.endpoints.command import app
from operations.endpoints.shell import note, registry_of_settings
from operations.files import read_rows
from operations.imports import DryRun, File, import_rows
from operations.output import Json, operator, show

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from psycopg import AsyncConnection

    from operations.endpoints.registry import Changed


@app.command("import")
def import_endpoints(path: File, *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """
    Add or change many endpoints in one transaction: all of them, or none if any has a fault.

    Each has a `provider`, an `id`, and the fields of `PUT /v1/admin/endpoints/{provider}/{id}`: label, mode, and in JSON
    `secrets`. In CSV, `secret` is the only secret. Delete the file afterwards if it contains secrets.
    """
    from operations.endpoints.registry import Name, PutEndpoint
    from operations.faults import read_fields

    registry = registry_of_settings()

    def read(row: dict[str, Any]) -> tuple[str, Callable[[AsyncConnection], Awaitable[Changed]]]:
        name = Name(str(row.pop("provider", "")), str(row.pop("id", "")))
        if secret := row.pop("secret", None):
            row.setdefault("secrets", [secret])
        asked, faults = read_fields(PutEndpoint, row)
        return name.place, partial(registry.put, name=name, asked=asked, by=operator(), faults=faults)

    changed = import_rows("endpoint", read_rows(path, columns=("provider", "id")), read, note, dry_run=dry_run)
    added = sum(each.was == "created" for each in changed)
    text = f"{added} endpoints {'would be' if dry_run else 'are'} added, {len(changed) - added} changed"
    show({"dryRun": dry_run, "added": added, "changed": len(changed) - added}, text, as_json=as_json)
