"""Partners as operators see them: terms, and secrets by their public ids."""

from datetime import datetime
from typing import Literal

import msgspec

from operations.partners.registry import FIELDS, Changed, MadeSecret, SecretText
from projections.partner_store import PARTNERS, PartnerRow, SecretKind, Terms, Vault
from runtime.addresses import shown
from runtime.seals import SealError, Seals
from schemas.partners import Partner


class SecretView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A secret of a partner, which is never shown."""

    kind: SecretKind  #: `signing` and `token` prove its leads, `crm` signs the deliveries to its CRM.
    id: str  #: The secret's public id: the first 8 hex digits of its SHA-256.
    since: datetime | None = None  #: The time at which it was added; absent for a secret of the settings.


class PartnerDetail(Terms, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One partner: its terms, and its secrets by their public ids."""

    id: str  #: The partner's id as in keys and metrics: upper-cased, with every other character as `_`.
    name: str | None = None  #: The id as it was first given; absent for a partner of the settings.
    origin: Literal["database", "environment"]
    """`environment` if the settings `PARTNER_{ID}_…` define it: the API cannot change it."""
    shadows: bool = False  #: True for a partner of the settings if the database also has one of this id, which is not used.
    crm: str | None = None  #: Scheme, host and port of its CRM; the rest of the address may be secret.
    crm_headers: list[str] = msgspec.field(default_factory=list)
    """Names of the headers that are sent with each delivery besides ours."""
    secrets: list[SecretView] = msgspec.field(default_factory=list)  #: Its secrets, grouped by kind, newest first.
    unreadable: bool = False  #: True if its secrets are sealed under a key that this gateway does not have.
    version: int | None = None  #: The partner's version, counted from 1; absent for a partner of the settings.
    created_at: datetime | None = None  #: The time at which it was added.
    updated_at: datetime | None = None  #: The time of its last change.
    updated_by: str | None = None  #: The public id of the token, or the account, that changed it last.


class PartnerChanged(msgspec.Struct, frozen=True, rename="camel"):
    """The partner after the change."""

    partner: PartnerDetail  #: The partner.
    new_secrets: list[MadeSecret]  #: The secrets that this call made. Store them: no call shows them again.


class PartnerList(msgspec.Struct, frozen=True):
    """Every partner."""

    items: list[PartnerDetail]  #: The partners, in the order of their ids.


class AddSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret to add."""

    kind: SecretKind  #: `signing` and `token` prove its leads, `crm` signs the deliveries to its CRM.
    value: SecretText | None = None
    """The secret, if the partner has one already; if absent, a new one is made."""


class PartnerRemoved(msgspec.Struct, frozen=True):
    """The partner is removed; its leads stay."""

    id: str  #: The partner's id.
    removed: bool = True  #: Always true.


def of_row(row: PartnerRow, seals: Seals) -> PartnerDetail:
    """Return the view of a partner of the database."""
    try:
        return _detail(row, PARTNERS.open(row, seals))
    except SealError:
        return _detail(row, None)


def of_change(changed: Changed) -> PartnerChanged:
    """Return the view of a change."""
    return PartnerChanged(_detail(changed.row, changed.vault), list(changed.made))


def of_environment(key: str, partner: Partner, *, shadows: bool) -> PartnerDetail:
    """Return the view of a partner of the settings; `shadows` is true if the database has one of the same id."""
    return PartnerDetail(
        id=key,
        origin="environment",
        shadows=shadows,
        crm=shown(partner.crm_url) if partner.crm_url else None,
        secrets=[SecretView(kind, secret.id) for kind, field in FIELDS.items() for secret in getattr(partner, field)],
    )


def _detail(row: PartnerRow, vault: Vault | None) -> PartnerDetail:
    known = vault or Vault()
    return PartnerDetail(
        **msgspec.structs.asdict(row.terms),
        id=row.id,
        origin="database",
        crm=shown(known.crm_url) if known.crm_url else None,
        crm_headers=list(known.crm_headers),
        secrets=[SecretView(kind, kept.secret.id, kept.since) for kind in FIELDS for kept in known.of(kind)],
        unreadable=vault is None,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        updated_by=row.updated_by,
    )
