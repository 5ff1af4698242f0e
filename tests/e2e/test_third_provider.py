"""A provider that is added by its own files and one line works everywhere, on real servers and in real processes."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from ops.dev.processes import TALLYHOOK
from tests import third_provider
from tests.e2e.test_stripe_payment import read_json, records_about, state_of
from tests.system import System, running_system
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.lasting import Lasting

SECRET: Final = "acs_" + "5e" * 16


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources with the third provider, with contracts published again."""
    folder = tmp_path_factory.mktemp("acme")
    third_provider.install(folder)
    for contract in ("json_schema", "asyncapi", "openapi", "postman"):
        command = [sys.executable, "-m", f"ops.contracts.{contract}"]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": str(folder)}, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def system(lasting: Lasting, sources: Path) -> Iterator[System]:
    """A gateway, a relay and a payments worker that run the sources with the third provider."""
    stack = lasting.emptied()
    environment = os.environ | stack.environment | {"PYTHONPATH": str(sources)}
    subprocess.run([TALLYHOOK, "topics", "ensure"], env=environment, cwd=sources, check=True, capture_output=True)
    with running_system(stack, workers=("payments",), PYTHONPATH=str(sources), ACME_WEBHOOK_SECRET=SECRET) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def tallyhook(system: System, *arguments: str, fails: bool = False, **settings: str) -> str:
    """The output of a command over the same sources and settings."""
    sources = system.settings["PYTHONPATH"]
    done = subprocess.run(
        [TALLYHOOK, *arguments], env=system.settings | settings, cwd=sources, capture_output=True, text=True, check=False
    )
    assert bool(done.returncode) is fails, done.stdout + done.stderr
    return done.stdout + done.stderr if fails else done.stdout


def published(system: System) -> dict[str, Any]:
    """The contract of the topics, as the sources with the third provider publish it."""
    found: dict[str, Any] = json.loads((Path(system.settings["PYTHONPATH"]) / "schemas" / "asyncapi.json").read_text())
    return found


def event(kind: str, name: str) -> bytes:
    fields = {"id": f"aev_{name}", "kind": kind, "at": int(time.time()), "charge": f"acp_{name}"}
    return json.dumps(fields | {"amount": 1999, "currency": "eur"}).encode()


async def post(http: aiohttp.ClientSession, system: System, body: bytes, secret: str = SECRET) -> tuple[int, dict[str, Any]]:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "Acme-Signature": signature}
    async with http.post(f"{system.public}/v1/webhooks/acme", data=body, headers=headers) as answer:
        return answer.status, await answer.json() | {"trace": answer.headers["X-Trace-Id"]}


async def ledger_of(http: aiohttp.ClientSession, system: System) -> dict[str, Any]:
    found = await read_json(http, f"{system.internal}/v1/admin/ledger")
    assert found is not None
    assert found["balanced"], found
    return next(source for source in found["sources"] if source["source"] == "acme")


async def test_its_payment_becomes_a_billing_event_and_the_ledger_counts_it_as_processed(
    system: System, http: aiohttp.ClientSession
) -> None:
    body = event("charge.paid", "paid")
    status, answer = await post(http, system, body)
    assert (status, answer["duplicate"]) == (200, False)
    assert (await post(http, system, body))[1]["duplicate"]
    assert (await post(http, system, event("charge.seen", "seen")))[1]["ignored"]
    assert (await post(http, system, event("charge.paid", "wrong"), secret="acs_wrong"))[1]["reason"] == "signature_wrong"

    paid = await state_of(http, system, "payments/acp_paid", status="succeeded")
    assert (paid["provider"], paid["amount"], paid["currency"]) == ("acme", 1999, "eur")
    [news] = records_about(system, "billing.payment.events", "acp_paid", 1)
    assert (news.headers["ce_type"], json.loads(news.value)["provider"]) == ("billing.payment.succeeded", "acme")
    [raw] = records_about(system, "webhooks.acme", "acp_paid", 1)
    assert (raw.value, raw.headers["ce_type"]) == (body, "com.acme.charge.paid")

    async def logged() -> dict[str, Any] | None:
        found = await ledger_of(http, system)
        return found if found["rejected"] else None

    counted = await eventually(logged)
    figures = ("received", "processed", "duplicates", "ignored", "rejected", "inFlight", "missing")
    assert [counted[name] for name in figures] == [4, 1, 1, 1, 1, 0, 0]
    listed = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries?source=acme&settled=processed")
    assert listed is not None
    assert [item["eventId"] for item in listed["items"]] == ["aev_paid"]


async def test_a_refused_delivery_is_explained(system: System, http: aiohttp.ClientSession) -> None:
    status, refused = await post(http, system, event("charge.paid", "typo"), secret=SECRET + " ")
    assert status == 401

    async def logged() -> str | None:
        found = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries?source=acme&trace={refused['trace']}")
        assert found is not None
        return found["items"][0]["id"] if found["items"] else None

    explained = json.loads(tallyhook(system, "deliveries", "explain", await eventually(logged), "--json"))
    assert explained["cause"] == "secret_with_whitespace"
    assert "ACME_WEBHOOK_SECRET" in explained["detail"]


async def test_a_replay_takes_its_delivery_up_again(system: System, http: aiohttp.ClientSession) -> None:
    await post(http, system, event("charge.paid", "again"))
    await state_of(http, system, "payments/acp_again", status="succeeded")
    listed = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries?source=acme&outcome=accepted")
    assert listed is not None
    delivery = next(item["id"] for item in listed["items"] if item["eventId"] == "aev_again")
    [_] = system.query("delete from consumed where consumer = 'payments' and event_id = %s returning event_id", delivery)
    replayed = json.loads(
        tallyhook(system, "replay", "webhooks", "--source", "acme", "--reason", "tried", "--id", delivery, "--json")
    )
    assert (replayed["state"], replayed["matched"], replayed["processed"]) == ("done", 1, 1)
    assert (await state_of(http, system, "payments/acp_again", status="succeeded"))["version"] == 1
    assert (await ledger_of(http, system))["inFlight"] == 0


async def test_the_topology_and_the_contracts_show_it(system: System, http: aiohttp.ClientSession) -> None:
    topology = await read_json(http, f"{system.internal}/v1/admin/topology")
    assert topology is not None
    edges = {(edge["source"], edge["target"]) for edge in topology["edges"]}
    assert {("acme", "gateway"), ("gateway", "webhooks.acme"), ("webhooks.acme", "payments")} <= edges

    contract = await read_json(http, f"{system.internal}/openapi.json")
    assert contract is not None
    assert contract["paths"]["/v1/webhooks/acme"]["post"]["security"] == [{"acmeSignature": []}]
    assert contract["components"]["securitySchemes"]["acmeSignature"]["name"] == "Acme-Signature"

    asyncapi = published(system)
    assert list(asyncapi["channels"]["webhooks.acme"]["messages"]) == ["com.acme.event"]
    billing = asyncapi["components"]["schemas"]["PaymentSucceeded"]["properties"]["provider"]
    assert "acme" in billing["enum"]


async def test_its_secret_is_made_listed_and_examined(system: System) -> None:
    made = json.loads(tallyhook(system, "secrets", "new", "--for", "acme", "--json"))
    assert made["setting"] == "ACME_WEBHOOK_SECRET"
    assert made["secret"].startswith("acs_")
    assert any("Acme Pay" in step for step in made["steps"])
    listed = json.loads(tallyhook(system, "secrets", "list", "--json"))
    assert "ACME_WEBHOOK_SECRET" in {each["setting"] for each in listed["items"]}

    refused = tallyhook(system, "check", fails=True, ACME_WEBHOOK_SECRET="pk_live_1234567890")
    assert "the secret that Acme Pay shows for its webhook is expected" in refused
    doubtful = json.loads(tallyhook(system, "doctor", "--json", fails=True, ACME_WEBHOOK_SECRET="of another provider's form"))
    assert any("does not begin with acs_" in finding["text"] for finding in doubtful["findings"])
