"""The commands of `tallyhook partners` that change partners of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, get_args

import typer

from operations.output import CommandError, Json, operator, show, with_database
from operations.partners.command import app
from operations.partners.shell import Name, current_terms, key_named, lines_of, note, registry_of_settings, secret_lines
from projections.partner_store import SecretKind
from runtime.settings import parse_duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from psycopg import AsyncConnection

    from operations.partners.registry import Changed, Registry

    Work = Callable[[AsyncConnection, Registry], Awaitable[Changed]]

_TERMS: Final = ("crmUrl", "crmHeaders", "concurrency", "maxAttempts", "timeoutSeconds", "rate", "paused")
_ELSE: Final = "; if it was never given, the setting"

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@app.command("show")
def show_partner(partner: Name, as_json: Json = False) -> None:
    """Show the terms of one partner, and its secrets by their public ids."""
    import msgspec

    from operations.partners import views
    from projections.partner_store import PARTNERS

    registry, key = registry_of_settings(), key_named(partner)
    row = with_database(lambda connection: PARTNERS.read(connection, key))
    if (configured := registry.environment.get(key)) is not None:
        found = views.of_environment(key, configured, shadows=row is not None)
    elif row is None:
        raise CommandError(f"not_found: there is no partner {key}")
    else:
        found = views.of_row(row, registry.seals)
    data = msgspec.to_builtins(found)
    show(data, "\n".join(lines_of(data)), as_json=as_json)


@app.command("put")
def put(
    partner: Name,
    *,
    crm_url: Annotated[str | None, typer.Option(help="The address to which its leads are delivered, https://….")] = None,
    crm_header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A header that is sent with each delivery. May be given several times."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(help=f"Maximum number of simultaneous attempts at its CRM{_ELSE} LEAD_PARTNER_CONCURRENCY.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(help=f"Maximum number of attempts before a lead is given up{_ELSE} LEAD_MAX_ATTEMPTS.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help=f"Time limit of an attempt, such as 15s{_ELSE} LEAD_TIMEOUT.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help=f"Rate at which it may send leads, such as 200/second, or off{_ELSE} RATE_LIMIT_PARTNERS.")
    ] = None,
    paused: Annotated[bool | None, typer.Option("--paused/--running", help="Hold its leads back, or deliver them.")] = None,
    unset: Annotated[
        list[str] | None, typer.Option(metavar="|".join(_TERMS), help="A term that falls back to its default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a partner, or change the given terms of one; newly made secrets are shown once."""
    given = {
        "crmUrl": crm_url,
        "crmHeaders": _headers(crm_header or ()) or None,
        "concurrency": concurrency,
        "maxAttempts": max_attempts,
        "timeoutSeconds": _seconds(timeout),
        "rate": rate,
        "paused": paused,
    }
    if unknown := {*(unset or ())} - {*_TERMS}:
        raise CommandError(f"--unset takes one of {', '.join(_TERMS)}, not {', '.join(sorted(unknown))}")
    new = {name: value for name, value in given.items() if value is not None}

    async def work(connection: AsyncConnection, registry: Registry) -> Changed:
        from operations.faults import read_fields
        from operations.partners.registry import PutPartner

        terms = await current_terms(connection, registry, key_named(partner))
        left = {name: value for name, value in terms.items() if name not in (unset or ())}
        asked, faults = read_fields(PutPartner, left | new)
        return await registry.put(connection, partner, asked, operator(), faults)

    _change(f"put {key_named(partner)}", work, as_json=as_json)


@app.command("add-secret")
def add_secret(
    partner: Name,
    kind: Annotated[str, typer.Option("--for", metavar="|".join(get_args(SecretKind)), help="The use of the secret.")],
    *,
    own: Annotated[bool, typer.Option("--own", help="Read an existing secret from standard input.")] = False,
    as_json: Json = False,
) -> None:
    """Add a secret before the others of its kind, which stay valid; a newly made one is shown once."""
    import msgspec

    from operations.files import read_line
    from operations.partners.views import AddSecret

    value = read_line() if own else None
    try:
        asked = msgspec.convert({"kind": kind, "value": value}, AddSecret)
    except msgspec.ValidationError as error:
        raise CommandError(f"field_invalid: {error}") from error

    key = key_named(partner)

    async def work(connection: AsyncConnection, registry: Registry) -> Changed:
        return await registry.add_secret(connection, partner, asked.kind, asked.value, operator())

    _change(f"add-secret {key} --for {kind}", work, as_json=as_json)


@app.command("drop-secret")
def drop_secret(
    partner: Name,
    secret_id: Annotated[str, typer.Argument(metavar="ID", help="Its public id, as `partners show` prints it.")],
    as_json: Json = False,
) -> None:
    """Drop a secret of every kind: leads that it proves are refused from then on, and deliveries carry no signature of it."""
    key = key_named(partner)

    async def work(connection: AsyncConnection, registry: Registry) -> Changed:
        return await registry.drop_secret(connection, partner, secret_id, operator())

    _change(f"drop-secret {key} {secret_id}", work, as_json=as_json)


@app.command("remove")
def remove(partner: Name, *, yes: Yes = False, as_json: Json = False) -> None:
    """Remove a partner: its leads are refused from then on, and those that wait become dead letters."""
    registry, key = registry_of_settings(), key_named(partner)
    if not yes and not typer.confirm(f"Remove {key}?"):
        raise CommandError("nothing was changed")

    async def work(connection: AsyncConnection) -> None:
        async with connection.transaction():
            await registry.remove(connection, partner)
            await note(connection, f"remove {key}")

    with_database(work)
    show({"id": key, "removed": True}, f"{key} is removed", as_json=as_json)


def _change(verb: str, work: Work, *, as_json: bool) -> None:
    """Change one partner and show it as it is now."""
    import msgspec

    from operations.partners import views

    registry = registry_of_settings()

    async def run(connection: AsyncConnection) -> Changed:
        async with connection.transaction():
            changed = await work(connection, registry)
            await note(connection, verb)
            return changed

    changed = with_database(run)
    data = msgspec.to_builtins(views.of_change(changed))
    made = [(changed.row.id, secret) for secret in changed.made]
    show(data, "\n".join([*lines_of(data["partner"]), *secret_lines(made)]), as_json=as_json)


def _headers(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator:
            raise CommandError("--crm-header needs the form NAME=VALUE")
        found[name] = value
    return found


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text).total_seconds()  # type: ignore[attr-defined,no-any-return]  # for a text it returns a timedelta
    except ValueError as error:
        raise CommandError(f"--timeout: {error}") from error
