"""Adds, changes and removes endpoints of providers, each in one transaction; an error reports all faults together."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta
from psycopg import AsyncConnection

from operations.errors import OperationError, Reason
from operations.faults import Fault, refuse
from operations.sealed import SECRETS_MAX, NewState, SealedTable, check_version
from projections.endpoints import ENDPOINTS, EndpointRow, Terms, Vault
from projections.sealed_rows import StoredSecret
from runtime.seals import Seals
from runtime.settings import Secret
from schemas.credentials import EVERY_OTHER, fault_of, fresh_token
from schemas.endpoints import SLUG_MAX, EndpointSecret, is_slug, place_of, slug_of
from schemas.numbers import INT64_MAX
from schemas.providers import NAMES, Provider, ProviderName, either, provider_of


class PutEndpoint(Terms, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """An endpoint; the call replaces its label and mode."""

    secrets: Annotated[tuple[EndpointSecret, ...], Meta(max_length=SECRETS_MAX)] | None = None
    """All signing secrets from now on, newest first, as the provider shows them; absent to keep the present ones."""
    expected_version: Annotated[int, Meta(ge=0, le=INT64_MAX)] | None = None
    """The version that the endpoint must have, 0 for one that does not exist; absent for any version."""


class AddEndpointSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret to add."""

    value: EndpointSecret | None = None
    """The secret as the provider shows it; absent to generate one, if the provider accepts a secret of ours."""


class MadeEndpointSecret(msgspec.Struct, frozen=True):
    """A secret in plain text, which no later call shows again."""

    id: str  #: The secret's public id: the first 8 hex digits of its SHA-256.
    value: str  #: The secret.


class Changed(NamedTuple):
    """The endpoint after a change, with the secrets that the change made."""

    row: EndpointRow
    vault: Vault
    made: tuple[MadeEndpointSecret, ...] = ()
    was: Literal["created", "changed"] = "changed"


class Name(NamedTuple):
    """The name of an endpoint in a path or a command."""

    provider: str
    id: str

    @property
    def place(self) -> str:
        return place_of(self.provider, self.id)


class Registry(NamedTuple):
    """
    Changes endpoints by the rules for them.

    `reserved` are secrets that have another role here. `plain` are the secrets of each provider's plain path; an endpoint of that
    provider may use them too, since it may replace the plain path.
    """

    seals: Seals
    reserved: frozenset[Secret] = frozenset()
    plain: Mapping[ProviderName, Collection[Secret]] = MappingProxyType({})

    async def put(
        self, connection: AsyncConnection, name: Name, asked: PutEndpoint, by: str, faults: Sequence[Fault] = ()
    ) -> Changed:
        """
        Add or change an endpoint in the open transaction; `faults` were found by the caller.

        Raises OperationError with all faults.
        """
        found = [*faults, *await self._faults_of_name(connection, name), *self._faults_of_secrets(name, asked.secrets or ())]
        if self.seals.newest is None:
            found.append(Fault(Reason.SEAL_KEYS_MISSING, "SECRET_KEYS is not set, and no secret is stored unsealed"))
        refuse(found)
        row = await ENDPOINTS.read_for_update(connection, name.place)
        check_version(row, asked.expected_version)
        vault = self._table.open(row) if row else Vault()
        if asked.secrets is not None:
            vault = Vault(tuple(_kept(vault, value) for value in dict.fromkeys(asked.secrets)))
        terms = Terms(label=asked.label, mode=asked.mode)
        written = await self._table.write(connection, row, NewState(name.place, terms, vault, by))
        return Changed(written, vault, (), "changed" if row else "created")

    async def add_secret(self, connection: AsyncConnection, name: Name, value: str | None, by: str) -> Changed:
        """Add a secret before the others, a generated one unless a value is given. Raises OperationError."""
        row = await self._table.existing(connection, name.place)
        vault = self._table.open(row)
        provider = provider_of(name.provider)
        if len(vault.signing) >= SECRETS_MAX:
            text = f"the endpoint has {SECRETS_MAX} secrets already: drop one that is not used any more"
            refuse([Fault(Reason.SECRET_INVALID, text)])
        if value is None and provider and provider.secret.prefix:
            text = f"{provider.title} makes the secrets of its endpoints: give the one that it shows"
            refuse([Fault(Reason.SECRET_INVALID, text)])
        secret = Secret(value or fresh_token())
        refuse([*self._faults_of_secrets(name, (secret.value,))])
        if any(kept.value == secret.value for kept in vault.signing):
            refuse([Fault(Reason.SECRET_INVALID, "the endpoint has this secret already")])
        vault = Vault((StoredSecret(secret.value, datetime.now(UTC)), *vault.signing))
        made = () if value else (MadeEndpointSecret(secret.id, secret.value),)
        return Changed(await self._table.write(connection, row, NewState(name.place, row.terms, vault, by)), vault, made)

    async def drop_secret(self, connection: AsyncConnection, name: Name, secret_id: str, by: str) -> Changed:
        """Drop a secret: deliveries that are signed with it are refused from then on. Raises OperationError."""
        row = await self._table.existing(connection, name.place)
        vault = self._table.open(row)
        left = tuple(kept for kept in vault.signing if kept.secret.id != secret_id)
        if len(left) == len(vault.signing):
            raise OperationError(Reason.NOT_FOUND, "the endpoint has no secret of this id")
        vault = Vault(left)
        return Changed(await self._table.write(connection, row, NewState(name.place, row.terms, vault, by)), vault)

    async def remove(self, connection: AsyncConnection, name: Name) -> None:
        """Remove an endpoint; its deliveries stay. Raises OperationError."""
        await self._table.existing(connection, name.place)
        await ENDPOINTS.remove(connection, name.place)

    async def _faults_of_name(self, connection: AsyncConnection, name: Name) -> list[Fault]:
        found = []
        if provider_of(name.provider) is None:
            found.append(Fault(Reason.FIELD_INVALID, f"the provider is not {either(NAMES)}"))
        if not is_slug(name.id):
            text = f"the id is not a slug: 1 to {SLUG_MAX} lower-case letters, digits and single dashes between them"
            near = slug_of(name.id)
            if near and await ENDPOINTS.read(connection, place_of(name.provider, near)):
                text += f"; as a slug it would be {near}, which exists already"
            found.append(Fault(Reason.FIELD_INVALID, text))
        return found

    def _faults_of_secrets(self, name: Name, secrets: Sequence[str]) -> Iterator[Fault]:
        provider = provider_of(name.provider)
        reserved = self.reserved.difference(self.plain.get(provider.name, ()) if provider else ())
        for place, secret in enumerate(secrets, 1):
            which = f"the secret {place} of {len(secrets)}" if len(secrets) > 1 else "the secret"
            if Secret(secret) in reserved:
                yield Fault(Reason.SECRET_INVALID, f"{which} is also a secret of our settings, and each role needs its own")
            elif provider and (fault := _fault_of(provider, secret)):
                yield Fault(Reason.SECRET_INVALID, f"{which} {fault}; {provider.secret.expected} is expected")

    @property
    def _table(self) -> SealedTable[Terms, Vault]:
        return SealedTable(ENDPOINTS, self.seals)


def _fault_of(provider: Provider, secret: str) -> str | None:
    prefix = provider.secret.prefix
    kinds = {"signing secret"} if prefix == "whsec_" else set()
    found = fault_of(secret, EVERY_OTHER - kinds, one_word=False)
    return found or (None if secret.startswith(prefix) else f"does not begin with {prefix}")


def _kept(vault: Vault, value: str) -> StoredSecret:
    return next((kept for kept in vault.signing if kept.value == value), StoredSecret(value, datetime.now(UTC)))
