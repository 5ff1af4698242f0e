"""The tokens of services and of operators; several of each are live at once, so that they can be rotated."""

import hmac
from collections.abc import Sequence
from typing import Literal, NamedTuple

from gateway.errors import GatewayError, Reason
from runtime.settings import Secret

Role = Literal["service", "admin"]


class Caller(NamedTuple):
    """The caller that a token proves: its role, and the public id of the token."""

    role: Role
    secret_id: str


class Gatekeeper:
    """Knows the live tokens."""

    def __init__(self, service: Sequence[Secret], admin: Sequence[Secret]) -> None:
        self.renew(service, admin)

    def renew(self, service: Sequence[Secret], admin: Sequence[Secret]) -> None:
        """Let these be the live tokens from now on."""
        self._tokens: list[tuple[Role, Secret]] = [("service", token) for token in service] + [
            ("admin", token) for token in admin
        ]

    def recognise(self, token: str | None) -> Caller:
        """
        The caller behind a token.

        Raises GatewayError: `token_missing`, `token_wrong`.
        """
        if not token:
            raise GatewayError(Reason.TOKEN_MISSING, "the header X-Internal-Token is missing")
        caller = self._find(token)
        if caller is None:
            raise GatewayError(Reason.TOKEN_WRONG, "this token is not known")
        return caller

    def holds(self, secret_id: str) -> bool:
        """Whether a live token of operators has this public id."""
        return any(role == "admin" and secret.id == secret_id for role, secret in self._tokens)

    def _find(self, token: str) -> Caller | None:
        """Compare with every live token, even after a match, so that the time does not reveal which one came close."""
        presented = token.encode("utf-8", "surrogateescape")
        found: Caller | None = None
        for role, secret in self._tokens:
            if hmac.compare_digest(presented, secret.value.encode()):
                found = Caller(role, secret.id)
        return found


def check_role(caller: Caller, needed: Role) -> None:
    """
    Let through whose token suffices.

    Raises GatewayError `admin_token_needed` where a service's token is not enough.
    """
    if needed == "admin" and caller.role != "admin":
        raise GatewayError(Reason.ADMIN_TOKEN_NEEDED, "this needs an admin token")
