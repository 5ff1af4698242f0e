"""The views of endpoints for operators: label, mode, address, and secrets by their public ids."""

from datetime import datetime

import msgspec

from operations.endpoints.registry import Changed, MadeEndpointSecret
from projections.endpoints import ENDPOINTS, EndpointRow, Terms, Vault
from runtime.seals import SealError, Seals


class EndpointSecretView(msgspec.Struct, frozen=True):
    """A secret of an endpoint, which is never shown."""

    id: str  #: The secret's public id: the first 8 hex digits of its SHA-256.
    since: datetime  #: When it was added.


class EndpointDetail(Terms, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One endpoint, with its secrets by their public ids."""

    provider: str  #: The provider, such as `stripe`.
    id: str  #: The id of the endpoint.
    path: str  #: The path at which it receives; the provider needs it below your public address.
    secrets: list[EndpointSecretView] = msgspec.field(default_factory=list)  #: Its secrets, newest first.
    unreadable: bool = False  #: True if its secrets are sealed under a key that this gateway does not have.
    version: int  #: The endpoint's version, counted from 1.
    created_at: datetime  #: When it was added.
    updated_at: datetime  #: When it was last changed.
    updated_by: str  #: The public id of the token, or the account, that changed it last.


class EndpointChanged(msgspec.Struct, frozen=True, rename="camel"):
    """The endpoint as it is now."""

    endpoint: EndpointDetail  #: The endpoint.
    new_secrets: list[MadeEndpointSecret]  #: The secrets that the call has made. Store them: no call shows them again.


class EndpointList(msgspec.Struct, frozen=True):
    """Every endpoint."""

    items: list[EndpointDetail]  #: The endpoints, in the order of provider and id.


class EndpointRemoved(msgspec.Struct, frozen=True):
    """The endpoint is removed; its deliveries stay."""

    provider: str  #: The provider.
    id: str  #: The endpoint's id.
    removed: bool = True  #: Always true.


def of_row(row: EndpointRow, seals: Seals) -> EndpointDetail:
    """The view of an endpoint."""
    try:
        return _detail(row, ENDPOINTS.open(row, seals))
    except SealError:
        return _detail(row, None)


def of_change(changed: Changed) -> EndpointChanged:
    """The view of a change."""
    return EndpointChanged(_detail(changed.row, changed.vault), list(changed.made))


def _detail(row: EndpointRow, vault: Vault | None) -> EndpointDetail:
    provider, _, name = row.id.partition("/")
    return EndpointDetail(
        **msgspec.structs.asdict(row.terms),
        provider=provider,
        id=name,
        path=f"/v1/webhooks/{row.id}",
        secrets=[EndpointSecretView(kept.secret.id, kept.since) for kept in (vault.signing if vault else ())],
        unreadable=vault is None,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        updated_by=row.updated_by,
    )
