"""
Partners are data: rows of a table that operators change while everything runs, or variables `PARTNER_{ID}_…`, one set a partner.

A partner in the environment is defined there alone, and no row can replace it.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from limits import RateLimitItem
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runtime.outbound import OutboundSettings
from runtime.seals import SealKeys
from runtime.settings import HttpUrl, Secret, Secrets
from schemas.credentials import only

# The longest first: `PARTNER_ACME_CRM_SECRET` belongs to ACME, so no partner's id may end in `_CRM`.
FIELDS: Final[Mapping[str, str]] = {"_CRM_SECRET": "crm_secret", "_CRM_URL": "crm_url", "_SECRET": "secret", "_TOKEN": "token"}
_PREFIX: Final = "PARTNER_"
_VARIABLE: Final = re.compile(rf"{_PREFIX}(?P<id>[A-Z0-9_]+?)(?:{'|'.join(FIELDS)})")


def key_of(partner_id: str) -> str:
    """The `{ID}` of a partner: its id upper-cased, with every other character as `_`."""
    return re.sub(r"[^A-Z0-9]", "_", partner_id.upper())


def check_signing(secrets: tuple[Secret, ...]) -> tuple[Secret, ...]:
    """Refuse a text that cannot be a Standard Webhooks secret."""
    for secret in secrets:
        text = secret.value.removeprefix("whsec_").rstrip("=")
        try:
            key = b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (NotBase64, ValueError):
            key = b""
        if not key:
            raise ValueError("is not base64, as a Standard Webhooks secret is, with or without whsec_")
    return secrets


class Partner(BaseModel):
    """One partner; secrets are all live ones, newest first."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    secret: Annotated[Secrets, only("the secret that signs the partner's leads", "signing secret", one_word=False)] = ()
    """Signs the leads that the partner sends."""
    token: Annotated[Secrets, only("a token made for this partner", "signing secret")] = ()
    """Replaces the signature, as a bearer token."""
    crm_url: HttpUrl | None = Field(default=None, repr=False)
    """The address to which its leads are delivered."""
    crm_secret: Annotated[Secrets, only("a Standard Webhooks secret", "signing secret"), AfterValidator(check_signing)] = ()
    """Signs the deliveries: Standard Webhooks secrets, base64 with or without `whsec_`."""
    crm_headers: Mapping[str, str] = Field(default={}, repr=False)
    """Headers that are sent with each delivery besides ours."""
    concurrency: int | None = None
    """Attempts under way at once; None for LEAD_PARTNER_CONCURRENCY."""
    max_attempts: int | None = None
    """Attempts before a lead is given up; None for the runtime configuration's number, or that of the settings."""
    timeout: timedelta | None = None
    """The time limit of one attempt; None for LEAD_TIMEOUT."""
    rate: RateLimitItem | Literal["default"] | None = "default"
    """The rate at which it may send leads; None for no limit."""
    paused: bool = False
    """True if its leads are held back."""


class PartnerSettings(OutboundSettings):
    """The settings of a process that deals with partners."""

    secret_keys: SealKeys = ()
    """The keys that seal the secrets of partners in the database, comma-separated, newest first; without one none is stored."""
    partners: Mapping[str, Partner] = Field(default={})
    """The partners, by the `{ID}` of their variables."""

    @classmethod
    def reads(cls, name: str) -> bool:
        return super().reads(name) or partner_of(name) is not None

    @classmethod
    def given(cls, environ: Mapping[str, str]) -> dict[str, str]:
        return super().given(environ) | {name: text for name, text in environ.items() if text and partner_of(name)}

    @classmethod
    def gather(cls, given: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, dict[str, str]] = {}
        for name, text in given.items():
            if partner := partner_of(name):
                found.setdefault(partner, {})[FIELDS[name[len(_PREFIX + partner) :]]] = text
        return {**super().gather(given), "partners": found}

    @classmethod
    def variable(cls, place: tuple[int | str, ...]) -> str:
        if len(place) > 1 and place[0] == "partners":
            return _PREFIX + "_".join(str(part) for part in place[1:3]).upper()
        return super().variable(place)

    @classmethod
    def destinations(cls, given: Mapping[str, str]) -> Iterator[str]:
        yield from super().destinations(given)
        yield from sorted(name for name in given if name.endswith("_CRM_URL") and partner_of(name))

    @classmethod
    def conflicts(cls, given: Mapping[str, str]) -> Iterator[str]:
        yield from super().conflicts(given)
        for partner in sorted({found for name in given if (found := partner_of(name))}):
            url, secret = f"{_PREFIX}{partner}_CRM_URL", f"{_PREFIX}{partner}_CRM_SECRET"
            if (url in given) != (secret in given):
                missing, there = (secret, url) if url in given else (url, secret)
                yield f"{missing}: is required, because {there} is set"


def partner_of(name: str) -> str | None:
    """The `{ID}` in the name of a partner's variable; None for any other variable."""
    match = _VARIABLE.fullmatch(name)
    return match["id"] if match else None
