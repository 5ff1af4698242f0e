"""The operations that each token allows."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError, Reason
from gateway.secrets.tokens import Caller, Gatekeeper, Role, check_role
from runtime.settings import Secret

SERVICE = (Secret("service-new"), Secret("service-old"))
ADMIN = (Secret("admin-new"), Secret("admin-old"))
READ = (Secret("read-new"), Secret("read-old"))
gatekeeper = Gatekeeper(SERVICE, ADMIN, READ)


def admit(token: str | None, needed: Role) -> Caller:
    caller = gatekeeper.recognise(token)
    check_role(caller, needed)
    return caller


@pytest.mark.parametrize("secret", SERVICE)
def test_every_live_service_token_opens_the_routes_of_services(secret: Secret) -> None:
    assert admit(secret.value, "service") == Caller("service", secret.id)


@pytest.mark.parametrize("needed", ["service", "admin"])
@pytest.mark.parametrize("secret", ADMIN)
def test_every_live_admin_token_opens_everything(secret: Secret, needed: Role) -> None:
    assert admit(secret.value, needed) == Caller("admin", secret.id)


@pytest.mark.parametrize(
    ("token", "needed", "reason"),
    [
        (None, "service", Reason.TOKEN_MISSING),
        ("", "admin", Reason.TOKEN_MISSING),
        ("service-newer", "service", Reason.TOKEN_WRONG),
        ("service-ne", "service", Reason.TOKEN_WRONG),
        ("tökën", "service", Reason.TOKEN_WRONG),
        ("\udcff", "admin", Reason.TOKEN_WRONG),
        ("service-new", "admin", Reason.ADMIN_TOKEN_NEEDED),
        ("read-new", "admin", Reason.TOKEN_READ_ONLY),
        ("read-old", "service", Reason.TOKEN_READ_ONLY),
    ],
)
def test_any_other_token_has_its_reason(token: str | None, needed: Role, reason: Reason) -> None:
    with pytest.raises(GatewayError) as refusal:
        admit(token, needed)
    assert refusal.value.reason is reason


@pytest.mark.parametrize("needed", ["service", "admin"])
@pytest.mark.parametrize("secret", READ)
def test_every_live_token_of_a_reader_opens_the_routes_that_change_nothing(secret: Secret, needed: Role) -> None:
    caller = gatekeeper.recognise(secret.value)
    check_role(caller, needed, readable=True)
    assert caller == Caller("reader", secret.id)
