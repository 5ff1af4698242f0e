"""`tallyhook partners import`: adds or changes many partners from one file, all of them or none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from operations.files import read_rows
from operations.imports import DryRun, File, import_rows
from operations.output import Json, operator, show
from operations.partners.command import app
from operations.partners.shell import key_named, made_secret, note, registry_of_settings, secret_lines, terms_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from psycopg import AsyncConnection

    from operations.partners.registry import Changed

_TYPED: Final = ("concurrency", "maxAttempts", "timeoutSeconds", "paused")


@app.command("import")
def import_partners(path: File, *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """
    Add or change many partners in one transaction; with any fault none is changed.

    Each has an `id` and terms as `PUT /v1/admin/partners/{id}` takes them: crmUrl, concurrency, maxAttempts, timeoutSeconds,
    rate, paused, and in JSON crmHeaders. Newly made secrets are shown once.
    """
    registry = registry_of_settings()

    def read(row: dict[str, Any]) -> tuple[str, Callable[[AsyncConnection], Awaitable[Changed]]]:
        key = key_named(name := str(row.pop("id", "")))
        return key, partial(registry.put, partner=name, asked=terms_of(row), by=operator())

    changed = import_rows("partner", read_rows(path, columns=("id",), typed=_TYPED), read, note, dry_run=dry_run)
    made = [] if dry_run else [(each.row.id, secret) for each in changed for secret in each.made]
    added = sum(each.was == "created" for each in changed)
    text = f"{added} partners {'would be' if dry_run else 'are'} added, {len(changed) - added} changed"
    data = {
        "dryRun": dry_run,
        "added": added,
        "changed": len(changed) - added,
        "newSecrets": [made_secret(*each) for each in made],
    }
    show(data, "\n".join([text, *secret_lines(made)]), as_json=as_json)
