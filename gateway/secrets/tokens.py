"""The tokens of services, operators and readers; several of each are live at once, so that they can be rotated."""

import hmac
from collections.abc import Sequence
from typing import Literal, NamedTuple

from gateway.errors import GatewayError, Reason
from runtime.settings import Secret

Role = Literal["service", "admin", "reader"]


class Caller(NamedTuple):
    """The caller that a token proves: its role, and the public id of the token."""

    role: Role
    secret_id: str


class Gatekeeper:
    """Compares tokens with the live ones."""

    def __init__(self, service: Sequence[Secret], admin: Sequence[Secret], read: Sequence[Secret] = ()) -> None:
        self.renew(service, admin, read)

    def renew(self, service: Sequence[Secret], admin: Sequence[Secret], read: Sequence[Secret] = ()) -> None:
        """Replace the live tokens."""
        roles: dict[Role, Sequence[Secret]] = {"service": service, "admin": admin, "reader": read}
        self._tokens = [(role, token) for role, tokens in roles.items() for token in tokens]

    def recognise(self, token: str | None) -> Caller:
        """
        The caller that a token proves.

        Raises GatewayError: `token_missing`, `token_wrong`.
        """
        if not token:
            raise GatewayError(Reason.TOKEN_MISSING, "the header X-Internal-Token is missing")
        caller = self._find(token)
        if caller is None:
            raise GatewayError(Reason.TOKEN_WRONG, "this token is not known")
        return caller

    def is_live(self, caller: Caller) -> bool:
        """Return True if a live token of the caller's role has its public id."""
        return any((role, secret.id) == caller for role, secret in self._tokens)

    def _find(self, token: str) -> Caller | None:
        """Compare with every live token, even after a match, so that the time does not reveal which one came close."""
        presented = token.encode("utf-8", "surrogateescape")
        found: Caller | None = None
        for role, secret in self._tokens:
            if hmac.compare_digest(presented, secret.value.encode()):
                found = Caller(role, secret.id)
        return found


def check_role(caller: Caller, needed: Role, *, readable: bool = False) -> None:
    """
    Check that the caller's token is sufficient; a `readable` operation is open to readers too.

    Raises GatewayError: `token_read_only`, and `admin_token_needed` if a service's token is not enough.
    """
    if caller.role == "reader":
        if not readable:
            raise GatewayError(Reason.TOKEN_READ_ONLY, "a reader's token changes nothing and reads no raw bodies")
        return
    if needed == "admin" and caller.role != "admin":
        raise GatewayError(Reason.ADMIN_TOKEN_NEEDED, "this needs an admin token")
