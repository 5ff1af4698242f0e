"""`tallyhook endpoints`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from operations.endpoints.shell import Place, current_terms, name_of, note, registry_of_settings
from operations.output import CommandError, Json, operator, show, with_database
from operations.reseal import reseal
from schemas.endpoints import place_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from psycopg import AsyncConnection

    from operations.endpoints.registry import Changed, Registry

    Work = Callable[[AsyncConnection, Registry], Awaitable[Changed]]

app = typer.Typer(no_args_is_help=True, help="Endpoints of payment providers, each with its own secrets, mode and label.")
app.command("reseal")(reseal)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_TERMS: Final = ("label", "mode")


@app.command("list")
def list_endpoints(as_json: Json = False) -> None:
    """List the endpoints, each with its label, its mode, and the public ids of its secrets."""
    import msgspec

    from operations.endpoints import views
    from projections.endpoints import ENDPOINTS

    seals = registry_of_settings().seals
    found = [msgspec.to_builtins(views.of_row(row, seals)) for row in with_database(ENDPOINTS.read_all)]
    show(
        {"endpoints": found},
        "\n".join(map(_line, found)) or "there is no endpoint: `tallyhook endpoints put` adds one",
        as_json=as_json,
    )


@app.command("show")
def show_endpoint(place: Place, as_json: Json = False) -> None:
    """Show one endpoint, with its secrets by their public ids."""
    import msgspec

    from operations.endpoints import views
    from projections.endpoints import ENDPOINTS

    name = name_of(place)
    row = with_database(lambda connection: ENDPOINTS.read(connection, name.place))
    if row is None:
        raise CommandError(f"not_found: there is no endpoint {place}")
    data = msgspec.to_builtins(views.of_row(row, registry_of_settings().seals))
    show(data, "\n".join(_lines(data)), as_json=as_json)


@app.command("put")
def put(
    place: Place,
    *,
    label: Annotated[str | None, typer.Option(help="A description in your words.")] = None,
    mode: Annotated[str | None, typer.Option(metavar="live|test|any", help="The events that go to the workers.")] = None,
    unset: Annotated[
        list[str] | None, typer.Option(metavar="|".join(_TERMS), help="A field that falls back to its default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add an endpoint, or change the given fields of one; `add-secret` adds the secrets that verify its deliveries."""
    if unknown := {*(unset or ())} - {*_TERMS}:
        raise CommandError(f"--unset takes one of {', '.join(_TERMS)}, not {', '.join(sorted(unknown))}")
    given = {name: value for name, value in {"label": label, "mode": mode}.items() if value is not None}

    async def work(connection: AsyncConnection, registry: Registry) -> Changed:
        from operations.endpoints.registry import PutEndpoint
        from operations.faults import read_fields

        name = name_of(place)
        terms = await current_terms(connection, name)
        left = {name: value for name, value in terms.items() if name not in (unset or ())}
        asked, faults = read_fields(PutEndpoint, left | given)
        return await registry.put(connection, name, asked, operator(), faults)

    _change(f"put {place}", work, as_json=as_json)


@app.command("add-secret")
def add_secret(
    place: Place,
    *,
    own: Annotated[bool, typer.Option("--own", help="Read the secret that the provider shows from standard input.")] = False,
    as_json: Json = False,
) -> None:
    """Add a secret before the others, which stay valid; a generated one, if the provider accepts ours, is shown once."""
    import msgspec

    from operations.endpoints.registry import AddEndpointSecret
    from operations.files import read_line

    value = read_line() if own else None
    try:
        asked = msgspec.convert({"value": value}, AddEndpointSecret)
    except msgspec.ValidationError as error:
        raise CommandError(f"field_invalid: {error}") from error

    async def work(connection: AsyncConnection, registry: Registry) -> Changed:
        return await registry.add_secret(connection, name_of(place), asked.value, operator())

    _change(f"add-secret {place}", work, as_json=as_json)


@app.command("drop-secret")
def drop_secret(
    place: Place,
    secret_id: Annotated[str, typer.Argument(metavar="ID", help="Its public id, as `endpoints show` lists it.")],
    as_json: Json = False,
) -> None:
    """Drop a secret: deliveries that are signed with it are refused from then on."""

    async def work(connection: AsyncConnection, registry: Registry) -> Changed:
        return await registry.drop_secret(connection, name_of(place), secret_id, operator())

    _change(f"drop-secret {place} {secret_id}", work, as_json=as_json)


@app.command("remove")
def remove(place: Place, *, yes: Yes = False, as_json: Json = False) -> None:
    """Remove an endpoint: its deliveries are refused from then on, and those that it received stay."""
    registry, name = registry_of_settings(), name_of(place)
    if not yes and not typer.confirm(f"Remove {place}?"):
        raise CommandError("nothing was changed")

    async def work(connection: AsyncConnection) -> None:
        async with connection.transaction():
            await registry.remove(connection, name)
            await note(connection, f"remove {place}")

    with_database(work)
    show({"provider": name.provider, "id": name.id, "removed": True}, f"{place} is removed", as_json=as_json)


def _change(verb: str, work: Work, *, as_json: bool) -> None:
    """Change one endpoint and show its new state."""
    import msgspec

    from operations.endpoints import views

    registry = registry_of_settings()

    async def run(connection: AsyncConnection) -> Changed:
        async with connection.transaction():
            changed = await work(connection, registry)
            await note(connection, verb)
            return changed

    changed = with_database(run)
    data = msgspec.to_builtins(views.of_change(changed))
    lines = [*_lines(data["endpoint"])]
    if changed.made:
        lines += ["", *(f"{changed.row.id} {secret.id}: {secret.value}" for secret in changed.made)]
        lines.append("Store the secret now: no command shows it again.")
    show(data, "\n".join(lines), as_json=as_json)


def _line(endpoint: Mapping[str, Any]) -> str:
    secrets = ", ".join(each["id"] for each in endpoint["secrets"]) if endpoint.get("secrets") else "no secret"
    held = "secrets cannot be opened" if endpoint.get("unreadable") else secrets
    place, label = place_of(endpoint["provider"], endpoint["id"]), endpoint.get("label", "")
    return f"{place:24} {endpoint.get('mode', 'as the plain path'):18} {held:20} {label}".rstrip()


def _lines(endpoint: Mapping[str, Any]) -> Iterator[str]:
    for name, value in endpoint.items():
        if name == "secrets":
            yield from (f"{'secret':16} {each['id']}  {each['since']}" for each in value)
        else:
            yield f"{name:16} {value}"
