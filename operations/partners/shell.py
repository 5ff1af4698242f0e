"""Shared parts of the commands for partners: the registry from the settings, checks of typed ids and terms, and printing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from operations.output import CommandError, operator
from runtime.seals import Seals
from runtime.settings import SettingsError, environment
from schemas.partners import PartnerSettings, key_of
from schemas.text import PartnerId, accepts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from psycopg import AsyncConnection

    from operations.partners.registry import MadeSecret, PutPartner, Registry

Name = Annotated[str, typer.Argument(metavar="PARTNER", help="The partner's id, as in its leads.")]

_KEEP_THEM: Final = "Store the secrets now: no command shows them again."


async def note(connection: AsyncConnection, verb: str) -> None:
    from gateway.audit_log import note_command

    await note_command(connection, f"tallyhook partners {verb}", operator())


def registry_of_settings() -> Registry:
    from gateway.settings import GatewaySettings
    from operations.partners.registry import Registry

    environ = environment()
    settings = PartnerSettings.load(environ)
    try:
        own = GatewaySettings.load(environ).own_secrets
    except SettingsError:  # this shell lacks some settings of a gateway
        own = frozenset()
    return Registry(Seals(settings.secret_keys), settings.partners, settings.outbound_allow, own)


def key_named(partner: str) -> str:
    if not accepts(PartnerId, partner):
        raise CommandError("field_invalid: a partner's id is 1 to 64 letters, digits, dots, dashes or underscores")
    return key_of(partner)


def terms_of(terms: Mapping[str, Any]) -> PutPartner:
    import msgspec

    from operations.partners.registry import PutPartner
    from schemas import numbers

    try:
        return numbers.convert(terms, PutPartner)
    except msgspec.ValidationError as error:
        raise CommandError(f"field_invalid: {error}") from error


async def current_terms(connection: AsyncConnection, registry: Registry, key: str) -> dict[str, Any]:
    """Read the terms of the partner; empty if it does not exist. Raises OperationError if they cannot be opened."""
    import msgspec

    from operations.sealed import SealedTable
    from projections.partner_store import PARTNERS

    row = await PARTNERS.read_for_update(connection, key)
    if row is None or key in registry.environment:
        return {}
    vault = SealedTable(PARTNERS, registry.seals).open(row)
    terms = {name: value for name, value in msgspec.to_builtins(row.terms).items() if name != "name"}
    return terms | {"crmHeaders": dict(vault.crm_headers)} | ({"crmUrl": vault.crm_url} if vault.crm_url else {})


def lines_of(data: Mapping[str, Any]) -> Iterator[str]:
    for name, value in data.items():
        if name == "secrets":
            yield from (f"{'secret':16} {each['id']}  {each['kind']}  {each.get('since', '')}".rstrip() for each in value)
        else:
            yield f"{name:16} {', '.join(value) if isinstance(value, list) else value}"


def secret_lines(made: Sequence[tuple[str, MadeSecret]]) -> Iterator[str]:
    if made:
        yield ""
        yield from (f"{partner} {secret.kind} {secret.id}: {secret.value}" for partner, secret in made)
        yield _KEEP_THEM


def made_secret(partner: str, secret: MadeSecret) -> dict[str, str]:
    return {"partner": partner, "kind": secret.kind, "id": secret.id, "value": secret.value}
