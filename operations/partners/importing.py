"""`tallyhook partners import`: adds or changes many partners from one file, all of them or none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from operations.files import is_csv, read_rows
from operations.imports import DryRun, File, import_rows, kept_terms, text_of
from operations.output import Json, operator, show
from operations.partners.command import app
from operations.partners.shell import (
    current_terms,
    key_named,
    made_secret,
    note,
    registry_of_settings,
    secret_lines,
    terms_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from psycopg import AsyncConnection

    from operations.partners.registry import Changed, Registry

_TYPED: Final = ("concurrency", "maxAttempts", "timeoutSeconds", "paused")


class _Imported(NamedTuple):
    """A partner of the file, with the names of the terms that it has now and had before with another value, or not at all."""

    partner: Changed
    changed: list[str]
    removed: list[str]


@app.command("import")
def import_partners(path: File, *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """
    Add or change many partners in one transaction; with any fault none is changed.

    Each has an `id` and terms: crmUrl, concurrency, maxAttempts, timeoutSeconds, rate, paused, and in JSON crmHeaders. An object
    of JSON replaces all terms of its partner, as `PUT /v1/admin/partners/{id}` does. A line of CSV keeps the terms without a
    column, and an empty field removes its term. The terms that change are named, and newly made secrets are shown once.
    """
    registry, csv = registry_of_settings(), is_csv(path)

    def read(row: dict[str, Any]) -> tuple[str, Callable[[AsyncConnection], Awaitable[_Imported]]]:
        key = key_named(name := text_of(row, "id"))
        terms_of(kept_terms(row, {}, csv=csv))
        return key, partial(_put, registry=registry, name=name, key=key, row=row, csv=csv)

    rows = read_rows(path, columns=("id",), typed=_TYPED)
    found = import_rows("partner", rows, read, note, dry_run=dry_run)
    made = [] if dry_run else [(each.partner.row.id, secret) for each in found for secret in each.partner.made]
    changed = [each for each in found if each.partner.was == "changed"]
    added = len(found) - len(changed)
    text = f"{added} partners {'would be' if dry_run else 'are'} added, {len(changed)} changed"
    data = {
        "dryRun": dry_run,
        "added": added,
        "changed": len(changed),
        "terms": [{"partner": each.partner.row.id, "changed": each.changed, "removed": each.removed} for each in changed],
        "newSecrets": [made_secret(*each) for each in made],
    }
    show(data, "\n".join([text, *_lines(changed), *secret_lines(made)]), as_json=as_json)


async def _put(
    connection: AsyncConnection, *, registry: Registry, name: str, key: str, row: dict[str, Any], csv: bool
) -> _Imported:
    from operations.faults import read_fields
    from operations.partners.registry import PutPartner

    terms = await current_terms(connection, registry, key)
    asked, faults = read_fields(PutPartner, kept_terms(row, terms, csv=csv))
    put = await registry.put(connection, name, asked, operator(), faults)
    before, after = _flat(terms), _flat(await current_terms(connection, registry, key))
    changed = sorted(term for term, value in after.items() if before.get(term) != value)
    return _Imported(put, changed, sorted(before.keys() - after.keys()))


def _flat(terms: Mapping[str, Any]) -> dict[str, Any]:
    """The terms by name, each header for itself; names of headers are the same in every case."""
    headers = {f"crmHeaders.{name.lower()}": value for name, value in terms.get("crmHeaders", {}).items()}
    return {name: value for name, value in terms.items() if name != "crmHeaders"} | headers


def _lines(changed: list[_Imported]) -> Iterator[str]:
    for each in changed:
        words = (("changes", each.changed), ("removes", each.removed))
        if text := "; ".join(f"{verb} {', '.join(terms)}" for verb, terms in words if terms):
            yield f"  {each.partner.row.id}: {text}"
