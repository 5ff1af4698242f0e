"""Partners of the database: each is added, changed or removed in one transaction, under the rules of this module."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta
from psycopg import AsyncConnection
from pydantic import ValidationError

from operations.errors import OperationError, Reason
from operations.faults import Fault, refuse
from operations.sealed import SECRETS_MAX, NewState, SealedTable, check_version
from projections.partner_store import PARTNERS, NamedTerms, PartnerRow, SecretKind, Terms, Vault
from projections.sealed_rows import StoredSecret
from runtime.endpoints import check_http, has_login
from runtime.outbound import REFUSED, Network, is_refused
from runtime.seals import Seals
from runtime.settings import Secret
from schemas.credentials import fresh_signing_secret, fresh_token
from schemas.numbers import INT64_MAX
from schemas.partners import Partner, key_of

FIELDS: Final[Mapping[SecretKind, str]] = {"signing": "secret", "token": "token", "crm": "crm_secret"}
"""The field of a partner that holds each kind of secret."""
# Headers that the HTTP client sets, and those that Tallyhook sets itself.
_OURS: Final = re.compile(
    r"content-.*|webhook-.*|user-agent|host|connection|keep-alive|transfer-encoding|te|trailer|upgrade|expect|proxy-.*",
    re.IGNORECASE,
)
_TWO_LOGINS: Final = "has a user or a password before its host, and crmHeaders has Authorization: remove one of them"

Url = Annotated[str, Meta(max_length=2048, pattern=r"^https?://[!-~]+\Z")]
HeaderName = Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")]
HeaderValue = Annotated[str, Meta(max_length=2048, pattern=r"^[\x20-\x7e]*\Z")]
SecretText = Annotated[str, Meta(min_length=16, max_length=512, pattern=r"^[\x21-\x7e]+\Z")]


class PutPartner(Terms, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The terms of a partner; the call replaces all of them, and keeps its secrets."""

    crm_url: Url | None = None
    """The address of its CRM, `https://…`, to which its leads are delivered; absent for a partner that only sends."""
    crm_headers: Annotated[dict[HeaderName, HeaderValue | None], Meta(max_length=20)] = {}  # noqa: RUF012  # msgspec copies it
    """Headers of each delivery besides ours; null keeps the present value of the header, if it has one."""
    expected_version: Annotated[int, Meta(ge=0, le=INT64_MAX)] | None = None
    """The version that the partner must have, 0 for one that does not exist; absent to put it in any case."""


class MadeSecret(msgspec.Struct, frozen=True):
    """A secret in plain text, which no later call shows again."""

    kind: SecretKind  #: `signing` and `token` prove its leads, `crm` signs the deliveries to its CRM.
    id: str  #: The secret's public id: the first 8 hex digits of its SHA-256.
    value: str  #: The secret.


class Changed(NamedTuple):
    """The partner after a change, with the secrets that the change made."""

    row: PartnerRow
    vault: Vault
    made: tuple[MadeSecret, ...] = ()
    was: Literal["created", "changed"] = "changed"


class Registry(NamedTuple):
    """The rules for partners of the database: the seals, the partners of the settings, and the networks that may be reached."""

    seals: Seals
    environment: Mapping[str, Partner]
    allowed: Sequence[Network]
    reserved: frozenset[Secret] = frozenset()
    """Secrets that have another role: a partner that had one of them could act in that role."""

    async def put(
        self, connection: AsyncConnection, partner: str, asked: PutPartner, by: str, faults: Sequence[Fault] = ()
    ) -> Changed:
        """
        Add or change the partner of this id in the open transaction; `faults` were found before.

        A new partner gets a signing secret, and one with a CRM also a secret for it.
        Raises OperationError: with every fault, or if the secrets cannot be opened or sealed.
        """
        key = key_of(partner)
        row = await PARTNERS.read_for_update(connection, key)
        found = (*self._faults_of_id(partner, row), *self._faults_of_url(asked), *_faults_of_headers(asked.crm_headers))
        refuse([*faults, *found])
        check_version(row, asked.expected_version)
        vault = self._table.open(row) if row else Vault()
        headers = _merged(vault.crm_headers, asked.crm_headers)
        vault = msgspec.structs.replace(vault, crm_url=asked.crm_url, crm_headers=headers)
        made: list[MadeSecret] = []
        if not vault.signing and not vault.token:
            vault = self._with(vault, "signing", None, made)
        if vault.crm_url and not vault.crm:
            vault = self._with(vault, "crm", None, made)
        name = row.terms.name if row and row.terms.name else partner
        terms = msgspec.structs.replace(msgspec.convert(asked, NamedTerms, from_attributes=True), name=name)
        written = await self._table.write(connection, row, NewState(key, terms, vault, by))
        return Changed(written, vault, tuple(made), "changed" if row else "created")

    async def add_secret(
        self, connection: AsyncConnection, partner: str, kind: SecretKind, value: str | None, by: str
    ) -> Changed:
        """Add a secret before the others of its kind, a new one unless a value is given. Raises OperationError."""
        row = await self._existing(connection, partner)
        vault = self._table.open(row)
        if len(vault.of(kind)) >= SECRETS_MAX:
            raise OperationError(
                Reason.SECRET_INVALID, f"there are {SECRETS_MAX} of this kind: drop one that is not used any more"
            )
        made: list[MadeSecret] = []
        vault = self._with(vault, kind, value, made)
        return Changed(await self._table.write(connection, row, NewState(row.id, row.terms, vault, by)), vault, tuple(made))

    async def drop_secret(self, connection: AsyncConnection, partner: str, secret_id: str, by: str) -> Changed:
        """Drop a secret of every kind: it verifies and signs nothing from then on. Raises OperationError."""
        row = await self._existing(connection, partner)
        vault = self._table.open(row)
        left = {kind: tuple(kept for kept in vault.of(kind) if kept.secret.id != secret_id) for kind in FIELDS}
        if all(left[kind] == vault.of(kind) for kind in FIELDS):
            raise OperationError(Reason.NOT_FOUND, "the partner has no secret of this id")
        if vault.crm_url and vault.crm and not left["crm"]:
            raise OperationError(Reason.SECRET_INVALID, "it is the only secret that signs deliveries: add another one first")
        vault = msgspec.structs.replace(vault, **left)
        return Changed(await self._table.write(connection, row, NewState(row.id, row.terms, vault, by)), vault)

    async def pause(self, connection: AsyncConnection, partner: str, by: str, *, paused: bool) -> Changed:
        """Hold the partner's leads back by its terms, or release them. Raises OperationError."""
        row = await self._existing(connection, partner)
        vault = self._table.open(row)
        terms = msgspec.structs.replace(row.terms, paused=paused)
        return Changed(await self._table.write(connection, row, NewState(row.id, terms, vault, by)), vault)

    async def remove(self, connection: AsyncConnection, partner: str, expected: int | None = None) -> None:
        """Remove a partner; its leads stay, and fail like those of a partner without a CRM. Raises OperationError."""
        row = await self._existing(connection, partner)
        check_version(row, expected)
        await PARTNERS.remove(connection, row.id)

    def _faults_of_id(self, partner: str, row: PartnerRow | None) -> Iterator[Fault]:
        """Yield a fault if the id is another partner's: two ids with the same letters and digits make the same key."""
        key = key_of(partner)
        if key in self.environment:
            text = f"{key} is defined by PARTNER_{key}_… in the settings: change it there, or remove it there"
            yield Fault(Reason.PARTNER_IN_ENVIRONMENT, text)
        elif row and row.terms.name and partner != key and partner.upper() != row.terms.name.upper():
            text = f"{partner} would get the key {key}, which is the partner {row.terms.name}: choose another id"
            yield Fault(Reason.PARTNER_ID_TAKEN, text)

    def _faults_of_url(self, asked: PutPartner) -> Iterator[Fault]:
        """Yield a fault if no delivery could reach the address; a host name is checked again when a delivery resolves it."""
        if (url := asked.crm_url) is None:
            return
        try:
            check_http(url)
        except ValueError as error:
            yield Fault(Reason.CRM_URL_REFUSED, str(error))
            return
        if is_refused(url, self.allowed):
            yield Fault(Reason.CRM_URL_REFUSED, REFUSED)
        if has_login(url) and any(name.lower() == "authorization" for name in asked.crm_headers):
            yield Fault(Reason.CRM_URL_REFUSED, _TWO_LOGINS)

    def _with(self, vault: Vault, kind: SecretKind, value: str | None, made: list[MadeSecret]) -> Vault:
        """Return the vault with a secret of this kind before the others; a newly made one is added to `made`."""
        secret = Secret(value or (fresh_signing_secret() if kind == "crm" else fresh_token()))
        try:
            Partner.model_validate({FIELDS[kind]: (secret,)})
        except ValidationError as error:
            raise OperationError(Reason.SECRET_INVALID, str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None
        if secret in self.reserved:
            raise OperationError(Reason.SECRET_INVALID, "it is a secret of our own settings, and each needs one of its own")
        if any(kept.value == secret.value for kept in vault.of(kind)):
            raise OperationError(Reason.SECRET_INVALID, "the partner has this secret already")
        if value is None:
            made.append(MadeSecret(kind, secret.id, secret.value))
        return msgspec.structs.replace(vault, **{kind: (StoredSecret(secret.value, datetime.now(UTC)), *vault.of(kind))})

    async def _existing(self, connection: AsyncConnection, partner: str) -> PartnerRow:
        key = key_of(partner)
        refuse([*self._faults_of_id(partner, await PARTNERS.read_for_update(connection, key))])
        return await self._table.existing(connection, key)

    @property
    def _table(self) -> SealedTable[NamedTerms, Vault]:
        return SealedTable(PARTNERS, self.seals)


def _faults_of_headers(asked: Mapping[str, str | None]) -> Iterator[Fault]:
    known: set[str] = set()
    for name in asked:
        if _OURS.fullmatch(name):
            yield Fault(Reason.FIELD_INVALID, f"the header {name} is set by Tallyhook - at `$.crmHeaders`")
        if name.lower() in known:
            yield Fault(Reason.FIELD_INVALID, f"the header {name} is given twice - at `$.crmHeaders`")
        known.add(name.lower())


def _merged(known: Mapping[str, str], asked: Mapping[str, str | None]) -> dict[str, str]:
    """Return the requested headers; one without a value keeps its known value. Names are compared regardless of case."""
    values = {name.lower(): value for name, value in known.items()}
    found = {name: values.get(name.lower()) if value is None else value for name, value in asked.items()}
    return {name: value for name, value in found.items() if value is not None}
