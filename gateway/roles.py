"""The roles of secrets, by variable: one token must not have two roles."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from runtime.setting_faults import is_utf8
from runtime.settings import Secret, parse_secrets
from schemas.partners import partner_of
from schemas.providers import providers

_ROLES: Final = {
    **{provider.secret_setting: provider.title for provider in providers()},
    **{f"{provider.name.upper()}_API_KEY": f"{provider.title}'s API" for provider in providers() if provider.has_api},
    "INTERNAL_API_TOKEN": "services",
    "ADMIN_API_TOKEN": "operators",
    "READ_API_TOKEN": "readers",
}
_OWN: Final = frozenset(_ROLES.values())
_DELIVERIES: Final = "deliveries to partners"


class Shared(NamedTuple):
    """Two variables with the same secret; `gives_access` is True if one is a token or an API key, which is enough by itself."""

    first: str
    other: str
    gives_access: bool

    @property
    def text(self) -> str:
        return f"{self.other}: has a secret of {self.first} too; each needs its own secret"


def shared_secrets(given: Mapping[str, str]) -> Iterator[Shared]:
    """
    The secrets that are set in two roles, so that the holder of one could act in the other.

    A partner's own secrets are one role: some partners sign with the token that they also send. A secret that signs deliveries
    gives no access here, so several partners may have the same; but it must not be a token of ours or a provider's secret.
    """
    holders: dict[str, dict[str, str]] = defaultdict(dict)
    for name, text in given.items():
        if (role := _role_of(name)) and is_utf8(text):  # another value is refused where it is read
            for secret in secrets_in(text):
                holders[secret.value].setdefault(role, name)
    found: dict[Shared, None] = {}
    for roles in holders.values():
        if roles.keys() - _OWN - {_DELIVERIES}:
            roles.pop(_DELIVERIES, None)
        first, *others = sorted(roles.values(), key=_rank)
        found |= dict.fromkeys(Shared(first, other, _gives_access(first) or _gives_access(other)) for other in others)
    yield from found


def secrets_in(text: str) -> tuple[Secret, ...]:
    """Comma-separated secrets."""
    found = parse_secrets(text)
    return found if isinstance(found, tuple) else ()


def _role_of(name: str) -> str | None:
    partner = partner_of(name)
    if partner is None:
        return _ROLES.get(name)
    if name.endswith("_CRM_URL"):
        return None
    return _DELIVERIES if name.endswith("_CRM_SECRET") else f"partner {partner}"


def _gives_access(name: str) -> bool:
    return name.endswith(("_TOKEN", "_API_KEY"))


def _rank(name: str) -> tuple[bool, str]:
    """Sorts an operator's token first, so that the message asks to change the other one."""
    return (name != "ADMIN_API_TOKEN", name)
