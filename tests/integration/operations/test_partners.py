"""Partners of the database: added, used, rotated and removed while gateways run."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from structlog.testing import capture_logs

from ops.doctor.partners import check_partners
from runtime.seals import new_key
from runtime.settings import Secret
from tests.gateways import ADMIN, SERVICE
from tests.simulators.partner import lead, sign
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateways import Gateway, StartGateway

PARTNERS: Final = "/v1/admin/partners"
KEY: Final = new_key()
SETTINGS: Final = {"SECRET_KEYS": KEY, "PARTNER_SET_CO_SECRET": "set-secret", "OUTBOUND_ALLOW": "192.168.7.0/24"}
CRM: Final = "https://crm.example.com/hooks/very-secret-path?token=even-more"


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> AsyncIterator[Gateway]:
    async with start_gateway(**SETTINGS) as running:
        yield running


async def call(gateway: Gateway, method: str, path: str, body: Any = None, headers: dict[str, str] = ADMIN) -> tuple[int, Any]:
    response = await gateway.client.request(method, f"{gateway.internal}{PARTNERS}{path}", json=body, headers=headers)
    return response.status, json.loads(await response.read())


async def send(gateway: Gateway, secret: str, partner: str = "acme", external_id: str = "1") -> tuple[int, str]:
    body = lead(external_id, partner)
    headers = {"Content-Type": "application/json", "X-Partner-Signature": sign(body, secret, time.time())}
    response = await gateway.client.post(f"{gateway.public}/v1/webhooks/partner/leads", data=body, headers=headers)
    problem = json.loads(await response.read())
    return response.status, problem.get("reason", "")


async def taken(gateway: Gateway, secret: str, status: int = 202, **more: str) -> None:
    """Send until the answer has this status."""

    async def look() -> bool | None:
        return True if (await send(gateway, secret, **more))[0] == status else None

    await eventually(look)


def secrets_of(answer: Any) -> dict[str, str]:
    return {made["kind"]: made["value"] for made in answer["new_secrets" if "new_secrets" in answer else "newSecrets"]}


async def test_a_new_partner_sends_its_first_lead_on_every_gateway(gateway: Gateway, start_gateway: StartGateway) -> None:
    async with start_gateway(**SETTINGS) as other:
        status, answer = await call(
            gateway, "PUT", "/acme", {"crmUrl": CRM, "maxAttempts": 3, "crmHeaders": {"X-Key": "hidden-value"}}
        )
        assert status == 201
        secrets = secrets_of(answer)
        assert {*secrets} == {"signing", "crm"}
        assert secrets["crm"].startswith("whsec_")
        await taken(gateway, secrets["signing"], external_id="1")
        await taken(other, secrets["signing"], external_id="2")


async def test_a_change_by_sql_is_known_too(gateway: Gateway, database_url: str) -> None:
    """The table itself sends the notification, whichever client changes it."""
    _, answer = await call(gateway, "PUT", "/acme", {})
    await taken(gateway, secrets_of(answer)["signing"])
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("delete from partners")
    await taken(gateway, secrets_of(answer)["signing"], 401, external_id="2")


async def test_no_secret_is_shown_again_or_stored_as_it_is(gateway: Gateway) -> None:
    _, answer = await call(gateway, "PUT", "/acme", {"crmUrl": CRM, "crmHeaders": {"X-Key": "hidden-value"}})
    secrets = secrets_of(answer)
    status, shown = await call(gateway, "GET", "/acme")
    assert status == 200
    assert (shown["id"], shown["origin"], shown["version"], shown["crmHeaders"]) == ("ACME", "database", 1, ["X-Key"])
    assert shown["crm"] == "https://crm.example.com"
    assert {(each["kind"], each["id"]) for each in shown["secrets"]} == {
        (kind, Secret(value).id) for kind, value in secrets.items()
    }
    [row] = await gateway.rows("partners")
    hidden = {*secrets.values(), "hidden-value", "very-secret-path", "even-more"}
    for text in (json.dumps(shown), str(row), json.dumps((await call(gateway, "GET", ""))[1])):
        assert not any(secret in text for secret in hidden)


async def test_secrets_overlap_while_they_change_over(gateway: Gateway) -> None:
    _, answer = await call(gateway, "PUT", "/acme", {})
    old = secrets_of(answer)["signing"]
    await taken(gateway, old, external_id="1")
    status, answer = await call(gateway, "POST", "/acme/secrets", {"kind": "signing"})
    new = secrets_of(answer)["signing"]
    assert (status, answer["partner"]["version"]) == (201, 2)
    await taken(gateway, new, external_id="2")
    assert await send(gateway, old, external_id="3") == (202, "")
    status, _ = await call(gateway, "DELETE", f"/acme/secrets/{Secret(old).id}")
    assert status == 200
    await taken(gateway, old, 401, external_id="4")
    assert await send(gateway, new, external_id="5") == (202, "")


async def test_a_dropped_secret_is_valid_in_no_way(gateway: Gateway) -> None:
    value = "one-secret-in-two-roles"
    await call(gateway, "PUT", "/acme", {})
    for kind in ("signing", "token"):
        assert (await call(gateway, "POST", "/acme/secrets", {"kind": kind, "value": value}))[0] == 201
    await taken(gateway, value)

    async def bearing(external_id: str) -> int:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {value}"}
        body = lead(external_id, "acme")
        response = await gateway.client.post(f"{gateway.public}/v1/webhooks/partner/leads", data=body, headers=headers)
        return response.status

    assert await bearing("2") == 202
    status, answer = await call(gateway, "DELETE", f"/acme/secrets/{Secret(value).id}")
    assert (status, Secret(value).id in json.dumps(answer["partner"])) == (200, False)
    await taken(gateway, value, 401, external_id="3")
    assert await bearing("4") == 401


async def test_an_existing_secret_can_be_imported(gateway: Gateway) -> None:
    await call(gateway, "PUT", "/acme", {})
    own = {"kind": "signing", "value": "one-that-the-partner-has-had-for-years"}
    status, answer = await call(gateway, "POST", "/acme/secrets", own)
    assert (status, answer["newSecrets"]) == (201, [])
    await taken(gateway, own["value"])
    assert (await call(gateway, "POST", "/acme/secrets", own))[1]["reason"] == "secret_invalid"


async def test_an_answer_with_a_secret_is_kept_under_no_idempotency_key(gateway: Gateway) -> None:
    await call(gateway, "PUT", "/acme", {})
    headers = ADMIN | {"Idempotency-Key": "one"}
    first = await call(gateway, "POST", "/acme/secrets", {"kind": "token"}, headers)
    again = await call(gateway, "POST", "/acme/secrets", {"kind": "token"}, headers)
    assert secrets_of(first[1]) != secrets_of(again[1])
    assert await gateway.rows("idempotency_keys") == []


async def test_a_change_replaces_the_terms_and_keeps_secrets_and_hidden_headers(gateway: Gateway) -> None:
    _, made = await call(
        gateway, "PUT", "/acme", {"crmUrl": CRM, "rate": "5/second", "crmHeaders": {"X-Key": "kept", "X-Old": "gone"}}
    )
    status, changed = await call(gateway, "PUT", "/acme", {"crmUrl": CRM, "concurrency": 3, "crmHeaders": {"x-key": None}})
    assert (status, changed["newSecrets"]) == (200, [])
    assert changed["partner"]["concurrency"] == 3
    assert "rate" not in changed["partner"]
    assert changed["partner"]["crmHeaders"] == ["x-key"]
    assert changed["partner"]["secrets"] == made["partner"]["secrets"]
    assert gateway.resources.senders.partners["ACME"].crm_headers in ({"X-Key": "kept", "X-Old": "gone"}, {"x-key": "kept"})


async def test_two_operators_do_not_undo_each_other(gateway: Gateway) -> None:
    assert (await call(gateway, "PUT", "/acme", {"expectedVersion": 0}))[0] == 201
    assert (await call(gateway, "PUT", "/acme", {"expectedVersion": 1}))[0] == 200
    for version in (0, 1, 7):
        status, answer = await call(gateway, "PUT", "/acme", {"expectedVersion": version})
        assert (status, answer["reason"]) == (409, "version_stale")


async def test_a_removed_partner_is_a_stranger(gateway: Gateway) -> None:
    _, answer = await call(gateway, "PUT", "/acme", {})
    secret = secrets_of(answer)["signing"]
    await taken(gateway, secret)
    assert (await call(gateway, "DELETE", "/acme"))[0] == 200
    await taken(gateway, secret, 401, external_id="2")
    assert (await call(gateway, "GET", "/acme"))[0] == 404
    assert (await call(gateway, "DELETE", "/acme"))[1]["reason"] == "not_found"


@pytest.mark.parametrize("name", ["set_co", "SET_CO", "set-co", "set.co"])
async def test_a_partner_of_the_settings_is_shown_and_never_changed(gateway: Gateway, name: str) -> None:
    status, shown = await call(gateway, "GET", f"/{name}")
    assert (status, shown["id"], shown["origin"]) == (200, "SET_CO", "environment")
    for method, path, body in (
        ("PUT", f"/{name}", {}),
        ("DELETE", f"/{name}", None),
        ("POST", f"/{name}/secrets", {"kind": "token"}),
        ("DELETE", f"/{name}/secrets/{Secret('set-secret').id}", None),
    ):
        status, answer = await call(gateway, method, path, body)
        assert (status, answer["reason"]) == (409, "partner_in_environment")


async def test_an_id_that_differs_in_its_separators_only_is_another_partners(gateway: Gateway) -> None:
    _, made = await call(gateway, "PUT", "/acme-de", {})
    [secret] = made["partner"]["secrets"]
    changes = (
        ("PUT", "", {"crmUrl": "http://10.0.0.1/"}), ("POST", "/secrets", {"kind": "token"}),
        ("DELETE", f"/secrets/{secret['id']}", None), ("DELETE", "", None),
    )  # fmt: skip
    for name in ("acme.de", "acme_de", "Acme_De"):
        for method, path, body in changes:
            status, answer = await call(gateway, method, f"/{name}{path}", body)
            assert (status, answer["reason"]) == (409, "partner_id_taken")
            assert "acme-de" in answer["detail"]
            assert "private network" in answer["detail"] or method != "PUT"
    for name in ("acme-de", "ACME-DE", "ACME_DE"):
        status, answer = await call(gateway, "PUT", f"/{name}", {"concurrency": 2})
        assert (status, answer["partner"]["id"], answer["partner"]["name"]) == (200, "ACME_DE", "acme-de")
    assert (await call(gateway, "DELETE", "/ACME_DE"))[0] == 200
    assert (await call(gateway, "PUT", "/acme.de", {}))[0] == 201


async def test_a_partner_that_was_there_before_ids_were_kept_takes_the_next_one(gateway: Gateway, database_url: str) -> None:
    await call(gateway, "PUT", "/acme-de", {})
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("update partners set terms = terms - 'name'")
    assert (await call(gateway, "POST", "/acme.de/secrets", {"kind": "token"}))[0] == 201
    assert (await call(gateway, "PUT", "/acme.de", {}))[1]["partner"]["name"] == "acme.de"
    assert (await call(gateway, "PUT", "/acme-de", {}))[1]["reason"] == "partner_id_taken"


async def test_a_partner_of_the_database_behind_one_of_the_settings_is_named_wherever_one_looks(
    start_gateway: StartGateway, database_url: str
) -> None:
    settings = {"DATABASE_URL": database_url, "SECRET_KEYS": KEY}
    async with start_gateway(SECRET_KEYS=KEY) as gateway:
        for name in ("set-co", "other"):
            await call(gateway, "PUT", f"/{name}", {})
    assert await asyncio.to_thread(check_partners, settings) == []
    with capture_logs() as logs:
        async with start_gateway(**SETTINGS) as gateway:
            ignored = [(each["reason"], each["partner"]) for each in logs if each["event"] == "partner_ignored"]
            found = {each["id"]: each.get("shadows") for each in (await call(gateway, "GET", ""))[1]["items"]}
            assert found == {"SET_CO": True, "OTHER": None}
            assert (await call(gateway, "GET", "/set_co"))[1]["shadows"] is True
    assert {*ignored} == {("partner_in_environment", "SET_CO")}
    behind = "partner SET_CO is in the settings and in the database; the one in the database is ignored"
    assert [(each.level, each.text) for each in await asyncio.to_thread(check_partners, settings | SETTINGS)] == [
        ("warn", behind)
    ]


async def test_the_doctor_names_a_partner_whose_secrets_no_key_opens(gateway: Gateway, database_url: str) -> None:
    await call(gateway, "PUT", "/acme", {})
    for key in (new_key(), ""):
        [found] = await asyncio.to_thread(check_partners, {"DATABASE_URL": database_url, "SECRET_KEYS": key})
        assert (found.level, "the secrets of partner ACME cannot be opened" in found.text) == ("fail", True)
        assert KEY not in str(found)


WITHIN: Final = (
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://[::1]/",
    "http://[::ffff:10.0.0.1]/", "http://localhost:8080/", "http://LOCALHOST./", "http://crm.localhost/", "http://10.1.2.3/x",
    "http://192.168.1.1/", "http://169.254.169.254/latest/meta-data", "http://0.0.0.0/", "http://[64:ff9b::a00:1]/",
    "ftp://crm.example.com/", "crm.example.com", "https://", "https://us er@x/", "https://crm.example.com:99999/",
)  # fmt: skip
OUTSIDE: Final = (
    "https://crm.example.com/a", "https://192.168.7.9/", "http://cafe1.de/", "https://8.8.8.8/x", "https://xn--bcher-kva.example/",
)  # fmt: skip


async def test_a_crm_that_lies_within_is_refused_and_one_outside_is_taken(gateway: Gateway) -> None:
    for url in WITHIN:
        status, answer = await call(gateway, "PUT", "/acme", {"crmUrl": url})
        assert (status, answer["reason"]) in ((422, "crm_url_refused"), (422, "field_invalid")), url
    assert await gateway.rows("partners") == []
    for url in OUTSIDE:
        assert (await call(gateway, "PUT", "/acme", {"crmUrl": url}))[0] in (201, 200), url


async def test_a_login_of_the_address_goes_with_no_authorization_among_the_headers(gateway: Gateway) -> None:
    """No request can have both: each of the partner's leads would end as `url_invalid`."""
    url, header = {"crmUrl": "https://u:p@8.8.8.8/leads"}, {"crmHeaders": {"authORIZATION": "Bearer k"}}
    assert (await call(gateway, "PUT", "/acme", url | {"crmHeaders": {"X-Key": "k"}}))[0] == 201
    for asked in (url | header, {"crmUrl": "https://us%3Aer:p@8.8.8.8/"}, {"crmUrl": "https://u:%E2%82%AC@8.8.8.8/"}):
        status, answer = await call(gateway, "PUT", "/acme", asked)
        assert (status, answer["reason"]) == (422, "crm_url_refused")
        assert "Bearer" not in str(answer)
    assert (await call(gateway, "PUT", "/acme", {"crmUrl": "https://8.8.8.8/leads"} | header))[0] == 200
    kept = {"crmHeaders": {"Authorization": None}}
    assert (await call(gateway, "PUT", "/acme", url | kept))[1]["reason"] == "crm_url_refused"


UNUSABLE: Final[tuple[dict[str, Any], ...]] = (
    {"concurrency": 0}, {"maxAttempts": 1001}, {"timeoutSeconds": 0}, {"rate": "many"}, {"paused": "yes"}, {"crmUrl": 7},
    {"crmHeaders": {"Content-Type": "x"}}, {"crmHeaders": {"webhook-id": "x"}},
    {"crmHeaders": {"X": "a\r\nY: b"}}, {"crmHeaders": {"X Y": "a"}}, {"crmHeaders": {"X": "a", "x": "b"}}, {"secret": "mine"},
)  # fmt: skip


async def test_every_fault_of_a_partner_is_reported_at_once(gateway: Gateway) -> None:
    wrong = {"concurrency": 0, "maxAttempts": 5000, "rate": "many", "crmUrl": "http://10.0.0.1/leads", "colour": "red"}
    status, answer = await call(gateway, "PUT", "/acme", wrong | {"crmHeaders": {"Host": "x", "X": "a", "x": "b"}})
    assert (status, answer["reason"]) == (422, "field_invalid")
    for part in ("$.concurrency", "$.maxAttempts", "$.rate", "colour", "private network", "header Host", "x is given twice"):
        assert part in answer["detail"], part


async def test_a_valid_number_is_no_fault_beside_another(gateway: Gateway) -> None:
    status, answer = await call(gateway, "PUT", "/acme", {"concurrency": 2.0, "bogus": 1})
    assert (status, answer["reason"]) == (422, "field_invalid")
    assert "bogus" in answer["detail"]
    assert "concurrency" not in answer["detail"]


async def test_terms_that_nothing_could_use_are_refused(gateway: Gateway) -> None:
    for body in UNUSABLE:
        status, answer = await call(gateway, "PUT", "/acme", body)
        assert (status, answer["reason"]) == (422, "field_invalid"), body


IMPOSSIBLE: Final = (
    {"kind": "crm", "value": "not-base64-at-all!"},
    {"kind": "signing", "value": "your-signing-secret"},
    {"kind": "token", "value": "sk_live_4eC39HqLyjWDarjtT1zdp7dc"},
    {"kind": "token", "value": "a-token-of-the-operators"},
    {"kind": "signing", "value": "a-token-of-the-operators"},
)


async def test_a_secret_that_can_be_none_is_refused_and_not_quoted(start_gateway: StartGateway) -> None:
    async with start_gateway(**SETTINGS, ADMIN_API_TOKEN=f"{ADMIN['X-Internal-Token']},a-token-of-the-operators") as gateway:
        await call(gateway, "PUT", "/acme", {})
        for secret in IMPOSSIBLE:
            status, answer = await call(gateway, "POST", "/acme/secrets", secret)
            assert (status, answer["reason"]) == (422, "secret_invalid")
            assert secret["value"] not in json.dumps(answer)


async def test_the_last_secret_of_deliveries_is_not_dropped(gateway: Gateway) -> None:
    _, answer = await call(gateway, "PUT", "/acme", {"crmUrl": CRM})
    crm = Secret(secrets_of(answer)["crm"]).id
    await call(gateway, "POST", "/acme/secrets", {"kind": "token", "value": secrets_of(answer)["crm"]})
    assert (await call(gateway, "DELETE", f"/acme/secrets/{crm}"))[1]["reason"] == "secret_invalid"
    assert (await call(gateway, "DELETE", "/acme/secrets/00000000"))[1]["reason"] == "not_found"


async def test_without_a_key_no_secret_is_stored(start_gateway: StartGateway) -> None:
    async with start_gateway() as gateway:
        status, answer = await call(gateway, "PUT", "/acme", {})
        assert (status, answer["reason"]) == (409, "seal_keys_missing")


async def test_a_gateway_that_lacks_the_key_refuses_no_client_for_good(gateway: Gateway, start_gateway: StartGateway) -> None:
    _, answer = await call(gateway, "PUT", "/acme", {})
    secret = secrets_of(answer)["signing"]
    async with start_gateway(SECRET_KEYS=new_key()) as other:
        # The partner retries after a 503; after a 401 it would give the lead up.
        await taken(other, secret, 503)
        assert (await send(other, secret))[1] == "postgres_unavailable"
        assert (await call(other, "GET", "/acme"))[1]["unreadable"] is True
        status, problem = await call(other, "PUT", "/acme", {})
        assert (status, problem["reason"]) == (409, "seal_unreadable")


async def test_a_service_may_not_see_or_change_partners(gateway: Gateway) -> None:
    for method, path in (("GET", ""), ("GET", "/acme"), ("PUT", "/acme"), ("DELETE", "/acme"), ("POST", "/acme/secrets")):
        status, answer = await call(gateway, method, path, {}, SERVICE)
        assert (status, answer["reason"]) == (403, "admin_token_needed")


async def test_a_partner_is_held_to_its_own_rate(gateway: Gateway) -> None:
    _, answer = await call(gateway, "PUT", "/acme", {"rate": "2/hour"})
    secret = secrets_of(answer)["signing"]
    await taken(gateway, secret, external_id="1")
    assert [await send(gateway, secret, external_id=str(n)) for n in (2, 3)] == [(202, ""), (429, "rate_limited")]
    await call(gateway, "PUT", "/acme", {"rate": "off"})
    await taken(gateway, secret, external_id="4")


async def test_each_change_is_in_the_audit_log_without_its_secrets(gateway: Gateway) -> None:
    _, answer = await call(gateway, "PUT", "/acme", {"crmUrl": CRM})
    await gateway.resources.audit.flush()
    [row] = await gateway.rows("audit_log")
    assert (row["method"], row["path"], row["status"]) == ("PUT", "/v1/admin/partners/{id}", 201)
    assert not any(secret in str(row) for secret in secrets_of(answer).values())
