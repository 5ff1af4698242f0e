"""`tallyhook partners import`: many partners from one file, all of them or none."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.errors import OperationError
from operations.output import CommandError, Json, operator, show, with_database
from operations.partners.command import app
from operations.partners.shell import key_named, made_secret, note, registry_of_settings, secret_lines, terms_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection

    from operations.partners.registry import Changed, PutPartner


@app.command("import")
def import_partners(
    path: Annotated[typer.FileText, typer.Argument(metavar="FILE", help="JSON, a list of objects, or CSV with a line of names.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """
    Add or change many partners in one transaction: all of them, or with any fault none.

    Each has an `id` and terms as `PUT /v1/admin/partners/{id}` takes them: crmUrl, concurrency, maxAttempts, timeoutSeconds,
    rate, paused, and in JSON crmHeaders. The secrets that this makes are shown once.
    """
    asked, faults = _read_file(path.read(), path.name)
    registry = registry_of_settings()

    async def work(connection: AsyncConnection) -> list[Changed]:
        changed = []
        async with connection.transaction(force_rollback=dry_run or bool(faults)):
            for place, name, terms in asked:
                try:
                    async with connection.transaction():
                        changed.append(await registry.put(connection, name, terms, operator()))
                except OperationError as error:
                    faults.append(f"{place}: {error.reason}: {error}")
            if faults and not dry_run:
                raise CommandError(_refused(faults))
            await note(connection, f"import of {len(changed)}")
        return changed

    changed = with_database(work)
    if faults:
        raise CommandError(_refused(faults))
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


def _refused(faults: Sequence[str]) -> str:
    return f"nothing was changed, since {len(faults)} of the partners cannot be taken:\n" + "\n".join(
        f"  {each}" for each in faults
    )


def _read_file(text: str, name: str) -> tuple[list[tuple[str, str, PutPartner]], list[str]]:
    """Return the partners of a file with their places in it, and the faults of others."""
    try:
        rows = _csv_rows(text) if name.lower().endswith(".csv") else json.loads(text)
    except ValueError as error:
        raise CommandError(f"{name} is not JSON: {error}; CSV is known by the end of its name, .csv") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CommandError(f"{name} is not a list of objects")
    found: dict[str, tuple[str, str, PutPartner]] = {}  # by the key of the partner
    faults = []
    for number, row in enumerate(rows, 1):
        place = f"partner {number} ({row.get('id', 'without an id')})"
        try:
            key = key_named(name := str(row.pop("id", "")))
            asked = terms_of(row)
        except CommandError as error:
            faults.append(f"{place}: {error}")
            continue
        if key in found:
            faults.append(f"{place}: is {key}, as {found[key][0]} is")
        found.setdefault(key, (place, name, asked))
    return list(found.values()), faults


def _csv_rows(text: str) -> list[dict[str, Any]]:
    """The rows of a CSV file, numbers and flags as JSON has them; what is empty is absent."""
    rows = [*csv.DictReader(text.removeprefix("\ufeff").splitlines())]
    return [{name: _typed(name, value) for name, value in row.items() if name and value} for row in rows]


def _typed(name: str, value: str) -> Any:
    if name not in {"concurrency", "maxAttempts", "timeoutSeconds", "paused"}:
        return value
    try:
        return json.loads(value.lower())
    except ValueError:
        return value
