"""The use of every secret is counted over all gateways, and the plan of runbooks/rotate-secrets.md leads through a rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg

from runtime.settings import Secret
from tests.gateways import ADMIN, OLD_SECRET, SECRET, SERVICE, Gateway
from tests.simulators.partner import lead, sign_body
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from tests.gateways import StartGateway

STRIPE: Final = "STRIPE_WEBHOOK_SECRET"
BEFORE: Final = "whsec_of_before_this_rotation"
AFTER: Final = "whsec_of_after_this_rotation"


async def secrets(gateway: Gateway) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the secrets by setting and public id."""
    response = await gateway.get("/v1/admin/secrets")
    assert response.status == 200, await response.text()
    return {(each["setting"], each["id"]): each for each in (await response.json())["items"]}


async def stripe(gateway: Gateway, secret: str) -> dict[str, Any]:
    return (await secrets(gateway))[STRIPE, Secret(secret).id]


async def let_pass(database_url: str, gateway: Gateway, hours: int) -> None:
    """Move every counted use back by so much time."""
    await gateway.resources.secret_uses.flush()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        earlier = ", ".join(f"{each} = {each} - interval '{hours} hours'" for each in ("slot", "first_used_at", "last_used_at"))
        await connection.execute(f"update secret_uses set {earlier}")


async def test_every_use_is_counted_by_secret_over_all_gateways(start_gateway: StartGateway) -> None:
    async with start_gateway() as one, start_gateway() as other:
        for gateway, number in ((one, 3), (other, 2)):
            for _ in range(number):
                assert (await gateway.post(Payment().created(), secret=OLD_SECRET)).status == 200
        await other.resources.secret_uses.flush()
        assert (await stripe(one, OLD_SECRET))["usesLastHour"] == 5
        assert (await stripe(one, SECRET))["usesLastHour"] == 0
        assert (await stripe(one, OLD_SECRET))["lastUsedAt"] is not None


async def test_tokens_and_partners_are_counted_too_and_a_token_that_does_not_suffice(start_gateway: StartGateway) -> None:
    async with start_gateway(PARTNER_ACME_SECRET="acme-new,acme-old") as gateway:
        body = lead("L1", "acme")
        headers = {"Content-Type": "application/json", "X-Partner-Signature": sign_body(body, "acme-old")}
        async with gateway.client.post(f"{gateway.public}/v1/webhooks/partner/leads", data=body, headers=headers) as answer:
            assert answer.status == 202, await answer.text()
        await gateway.get("/internal/v1/config", SERVICE)
        await gateway.get("/v1/admin/audit", SERVICE)
        found = await secrets(gateway)
    assert found["PARTNER_ACME_SECRET", Secret("acme-old").id]["usesLastHour"] == 1
    assert found["INTERNAL_API_TOKEN", Secret("service").id]["usesLastHour"] == 2
    assert found["ADMIN_API_TOKEN", Secret("operator").id]["usesLastHour"] == 1


async def test_no_answer_holds_a_secret(start_gateway: StartGateway) -> None:
    async with start_gateway() as gateway:
        text = await (await gateway.get("/v1/admin/secrets")).text()
    assert not any(secret in text for secret in (SECRET, OLD_SECRET, ADMIN["X-Internal-Token"]))


async def test_the_plan_of_the_runbook_leads_through_a_rotation(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway(STRIPE_WEBHOOK_SECRET=BEFORE) as gateway:
        assert (await gateway.post(Payment().created(), secret=BEFORE)).status == 200
        assert (await gateway.post(Payment().created(), secret=AFTER)).status == 401
        assert (await stripe(gateway, BEFORE))["why"] == "it is the only one of its setting"
        await let_pass(database_url, gateway, 100)

    async with start_gateway(STRIPE_WEBHOOK_SECRET=f"{AFTER},{BEFORE}") as gateway:  # 1. the new secret first, then the old one
        old = await stripe(gateway, BEFORE)
        assert (old["position"], old["safeToDrop"]) == ("older", False), "unused for days, but nobody uses the newest yet"
        for secret in (AFTER, BEFORE):  # 2. the provider signs with the new one: both pass
            assert (await gateway.post(Payment().created(), secret=secret)).status == 200
        assert not (await stripe(gateway, BEFORE))["safeToDrop"]
        await let_pass(database_url, gateway, 12)
        assert (await gateway.post(Payment().created(), secret=BEFORE)).status == 200  # a redelivery from before the change
        await let_pass(database_url, gateway, 23)
        old = await stripe(gateway, BEFORE)
        assert (old["safeToDrop"], old["usesLastHour"]) == (False, 0)
        assert old["safeFrom"] is not None
        await let_pass(database_url, gateway, 1)
        assert (await stripe(gateway, BEFORE))["safeToDrop"]  # 3. unused for a full overlap
        assert not (await stripe(gateway, AFTER))["safeToDrop"]

    async with start_gateway(STRIPE_WEBHOOK_SECRET=AFTER) as gateway:  # 4. the old one is dropped
        assert (await gateway.post(Payment().created(), secret=BEFORE)).status == 401
        assert (await gateway.post(Payment().created(), secret=AFTER)).status == 200
        gone = await stripe(gateway, BEFORE)
        assert (gone["configured"], gone["safeToDrop"]) == (False, False)
