"""What a secret lets somebody do, by the variable that holds it: no secret may do two of these things."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from runtime.partners import partner_of
from runtime.settings import Secret, parse_secrets

_ROLES: Final = {
    "STRIPE_WEBHOOK_SECRET": "Stripe",
    "STRIPE_API_KEY": "Stripe's API",
    "RAZORPAY_WEBHOOK_SECRET": "Razorpay",
    "INTERNAL_API_TOKEN": "services",
    "ADMIN_API_TOKEN": "operators",
}


def shared_secrets(given: Mapping[str, str]) -> Iterator[str]:
    """
    Each secret that is set in two roles: whoever has it for the one could act in the other.

    A partner's own secrets are one role: some partners sign with what they also send as a token.
    """
    holders: dict[str, dict[str, str]] = defaultdict(dict)
    for name, text in given.items():
        partner = partner_of(name)
        role = _ROLES.get(name) or (partner and f"partner {partner}")
        if role and not name.endswith("_CRM_URL"):
            for secret in secrets_in(text):
                holders[secret.value].setdefault(role, name)
    told: set[tuple[str, str]] = set()
    for roles in holders.values():
        first, *others = sorted(roles.values(), key=_rank)
        for other in others:
            if (first, other) not in told:
                told.add((first, other))
                yield f"{other}: has a secret of {first} too; each needs one of its own"


def secrets_in(text: str) -> tuple[Secret, ...]:
    found = parse_secrets(text)
    return found if isinstance(found, tuple) else ()


def _rank(name: str) -> tuple[bool, str]:
    """An operator's token first, so that it is the other one that has to change."""
    return (name != "ADMIN_API_TOKEN", name)
