"""Partners are data: each is the variables `PARTNER_{ID}_…` of the environment, one set a partner."""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from runtime.settings import Secret, Secrets, Settings, check_address

# The longest first: `PARTNER_ACME_CRM_SECRET` belongs to ACME, so no partner's id may end in `_CRM`.
FIELDS: Final[Mapping[str, str]] = {"_CRM_SECRET": "crm_secret", "_CRM_URL": "crm_url", "_SECRET": "secret", "_TOKEN": "token"}
_PREFIX: Final = "PARTNER_"


def key_of(partner_id: str) -> str:
    """The `{ID}` of a partner: its id upper-cased, with every other character as `_`."""
    return re.sub(r"[^A-Z0-9]", "_", partner_id.upper())


class Partner(BaseModel):
    """One partner; secrets are all live ones, newest first."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    secret: Secrets = ()
    """Signs the leads that the partner sends."""
    token: Secrets = ()
    """Stands in for a signature, as a bearer token."""
    crm_url: Annotated[str, AfterValidator(check_address)] | None = Field(default=None, pattern=r"^https?://.+", repr=False)
    """Where its leads are delivered."""
    crm_secret: Secrets = ()
    """Signs what is delivered: Standard Webhooks secrets, base64 with or without `whsec_`."""

    @model_validator(mode="after")
    def _crm_is_whole(self) -> "Partner":
        if self.crm_url and not self.crm_secret:
            raise ValueError("a CRM_URL needs a CRM_SECRET to sign with")
        if not all(map(_is_signing_secret, self.crm_secret)):
            raise ValueError("CRM_SECRET is not base64")
        return self


class PartnerSettings(Settings):
    """The settings of a process that deals with partners."""

    partners: Mapping[str, Partner] = Field(default={})
    """By the `{ID}` of their variables."""

    @classmethod
    def gather(cls, environ: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, dict[str, str]] = {}
        for name, text in environ.items():
            if text and name.startswith(_PREFIX) and (suffix := _suffix_of(name)):
                found.setdefault(name[len(_PREFIX) : -len(suffix)], {})[FIELDS[suffix]] = text
        return {**super().gather(environ), "partners": found}


def _suffix_of(name: str) -> str | None:
    """The known end of a variable's name, where it leaves room for an id."""
    return next((suffix for suffix in FIELDS if name.endswith(suffix) and len(name) > len(_PREFIX + suffix)), None)


def _is_signing_secret(secret: Secret) -> bool:
    try:
        return bool(b64decode(secret.value.removeprefix("whsec_") + "==", validate=False))
    except (NotBase64, ValueError):
        return False
