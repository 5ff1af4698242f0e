"""The parts that the commands for endpoints share: names of endpoints, the registry, and the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.output import CommandError, operator
from runtime.seals import Seals
from runtime.settings import SettingsError, environment
from schemas.partners import PartnerSettings

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from operations.endpoints.registry import Name, Registry

Place = Annotated[str, typer.Argument(metavar="PROVIDER/ID", help="The endpoint, such as stripe/eu.")]


def name_of(place: str) -> Name:
    """Parse the name of an endpoint. Raises CommandError."""
    from operations.endpoints.registry import Name

    provider, separator, name = place.partition("/")
    if not separator:
        raise CommandError("field_invalid: an endpoint is named PROVIDER/ID, such as stripe/eu")
    return Name(provider, name)


def registry_of_settings() -> Registry:
    """The registry for the settings of this shell, which may lack some that a gateway has."""
    from gateway.settings import GatewaySettings
    from operations.endpoints.registry import Registry
    from schemas.providers import providers

    environ = environment()
    seals = Seals(PartnerSettings.load(environ).secret_keys)
    try:
        settings = GatewaySettings.load(environ)
    except SettingsError:
        return Registry(seals)
    return Registry(seals, settings.own_secrets, {each.name: settings.webhook_secrets(each) for each in providers()})


async def current_terms(connection: AsyncConnection, name: Name) -> dict[str, Any]:
    """Read label and mode of the endpoint; empty if it does not exist."""
    import msgspec

    from projections.endpoints import ENDPOINTS

    row = await ENDPOINTS.read_for_update(connection, name.place)
    return dict(msgspec.to_builtins(row.terms)) if row else {}


async def note(connection: AsyncConnection, verb: str) -> None:
    """Record a change in the audit log."""
    from gateway.audit_log import note_command

    await note_command(connection, f"tallyhook endpoints {verb}", operator())
