"""The partners in the table: their terms in plain JSON, and all of their secrets sealed in one value."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from projections.config_keys import ATTEMPTS_MAX
from projections.sealed_rows import Row, SealedRows, StoredSecret
from runtime.rates import RATE_PATTERN, rate_of
from schemas.partners import Partner

SecretKind = Literal["signing", "token", "crm"]

_CONCURRENCY_MAX: Final = 1000
_TIMEOUT_MAX: Final = 3600


class Terms(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The terms that are agreed with a partner, without its secrets."""

    concurrency: Annotated[int, Meta(ge=1, le=_CONCURRENCY_MAX)] | None = None
    """Attempts to its CRM under way at once; absent for `LEAD_PARTNER_CONCURRENCY`."""
    max_attempts: Annotated[int, Meta(ge=1, le=ATTEMPTS_MAX)] | None = None
    """Attempts to deliver a lead before it is given up; absent for the number of the runtime configuration or the settings."""
    timeout_seconds: Annotated[float, Meta(ge=0.001, le=_TIMEOUT_MAX)] | None = None
    """Seconds that its CRM may take for one attempt; absent for `LEAD_TIMEOUT`."""
    rate: Annotated[str, Meta(pattern=RATE_PATTERN)] | None = None
    """The rate at which it may send leads, such as `200/second` or `off`; absent for the rate of all partners."""
    paused: bool = False
    """True holds its leads back; this uses up no attempt."""


class NamedTerms(Terms, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The terms as they are stored, with the id of the partner as it was first given, which its key does not show."""

    name: str | None = None


class Vault(msgspec.Struct, frozen=True, omit_defaults=True):
    """The secrets of a partner, each kind newest first, with its address and headers, which may hold some too."""

    signing: tuple[StoredSecret, ...] = ()
    token: tuple[StoredSecret, ...] = ()
    crm: tuple[StoredSecret, ...] = ()
    crm_url: str | None = None
    crm_headers: Mapping[str, str] = msgspec.field(default_factory=dict)

    def of(self, kind: SecretKind) -> tuple[StoredSecret, ...]:
        """Return the secrets of a kind, newest first."""
        found: tuple[StoredSecret, ...] = getattr(self, kind)
        return found


PARTNERS: Final = SealedRows("partners", "partner", NamedTerms, Vault)
PartnerRow = Row[NamedTerms]


def partner_of(terms: Terms, vault: Vault) -> Partner:
    """Return the partner as processes use it; the row was checked when it was written."""
    return Partner.model_construct(
        secret=tuple(kept.secret for kept in vault.signing),
        token=tuple(kept.secret for kept in vault.token),
        crm_url=vault.crm_url,
        crm_secret=tuple(kept.secret for kept in vault.crm),
        crm_headers=vault.crm_headers,
        concurrency=terms.concurrency,
        max_attempts=terms.max_attempts,
        timeout=timedelta(seconds=terms.timeout_seconds) if terms.timeout_seconds else None,
        rate=rate_of(terms.rate) if terms.rate else "default",
        paused=terms.paused,
    )
