"""Three Stripe endpoints are added, used, rotated and removed through the API under load; each delivery names its own."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.simulators import stripe
from tests.system import ADMIN
from tests.waiting import eventually

if TYPE_CHECKING:
    import aiohttp

    from tests.system import System


class Account:
    """One of several accounts of Stripe, which sends one event after the other to its endpoint, signed by this secret."""

    def __init__(self, http: aiohttp.ClientSession, system: System, name: str) -> None:
        self._http = http
        self._system = system
        self.name = name
        self.secret = f"whsec_{uuid4().hex}"
        self.sent: set[str] = set()
        self.refused: list[tuple[int, str]] = []
        self.stopped = False

    async def call(self, method: str, path: str = "", body: Any = None) -> Any:
        url = f"{self._system.internal}/v1/admin/endpoints/stripe/{self.name}{path}"
        async with self._http.request(method, url, json=body, headers=ADMIN) as answer:
            result = await answer.json()
            assert answer.status in (200, 201), result
            return result

    async def send(self, secret: str = "") -> int:
        now = int(time.time())
        body = stripe.Payment().succeeded(now)
        headers = {"Content-Type": "application/json", "Stripe-Signature": stripe.sign(body, secret or self.secret, now)}
        url = f"{self._system.public}/v1/webhooks/stripe/{self.name}"
        async with self._http.post(url, data=body, headers=headers) as answer:
            result = await answer.json(content_type=None)
            if answer.status == 200:
                self.sent.add(result["id"])
            else:
                self.refused.append((answer.status, result["reason"]))
            return answer.status

    async def until(self, status: int, secret: str = "") -> None:
        """Send until this is the answer; events refused meanwhile are no part of the load."""

        async def answered() -> bool | None:
            return True if await self.send(secret) == status else None

        before = len(self.refused)
        await eventually(answered, every=0.1)
        del self.refused[before:]

    async def send_on(self) -> list[tuple[int, str]]:
        refused = []
        while not self.stopped:
            if await self.send() != 200:
                refused.append(self.refused[-1])
            await asyncio.sleep(0.01)
        return refused


async def rotate(account: Account) -> None:
    """Add a new secret before the old one, sign with it, and drop the old one, while events keep coming."""
    [old] = (await account.call("GET"))["secrets"]
    secret, before = f"whsec_{uuid4().hex}", account.secret
    await account.call("POST", "/secrets", {"value": secret})
    probe = Account(account._http, account._system, account.name)
    await probe.until(200, secret)
    account.secret = secret
    await probe.until(200, secret)  # an event with the old secret may be in flight until the next one is sent
    await account.call("DELETE", f"/secrets/{old['id']}")
    await probe.until(401, before)
    account.sent |= probe.sent


async def test_three_endpoints_are_added_used_rotated_and_removed_under_load(system: System, http: aiohttp.ClientSession) -> None:
    run = uuid4().hex[:8]
    accounts = [Account(http, system, f"{name}-{run}") for name in ("eu", "us", "connect")]
    for account in accounts:
        await account.call("PUT", "", {"label": f"Account {account.name}", "secrets": [account.secret]})
        await account.until(200)
    load = [asyncio.create_task(account.send_on()) for account in accounts]
    for account in accounts:
        await rotate(account)
    for account in accounts:
        account.stopped = True
    assert await asyncio.gather(*load) == [[], [], []]
    for account, other in zip(accounts, accounts[1:] + accounts[:1], strict=True):
        assert await account.send(other.secret) == 401

    async def figures() -> dict[str, Any] | None:
        async with http.get(f"{system.internal}/v1/admin/ledger", headers=ADMIN) as answer:
            ledger = await answer.json()
        found = {each["endpoint"]: each for each in ledger["endpoints"]}
        mine = [found[account.name] for account in accounts]
        return found if ledger["balanced"] and not any(each["inFlight"] for each in mine) else None

    found = await eventually(figures)
    assert [found[account.name]["processed"] for account in accounts] == [len(account.sent) for account in accounts]
    async with http.get(f"{system.internal}/metrics", headers=ADMIN) as answer:
        page = await answer.text()
    for account in accounts:
        series = f'tallyhook_webhooks_received_total{{endpoint="{account.name}",outcome="accepted",source="stripe"}}'
        assert f"{series} {float(len(account.sent))}" in page
        query = {"endpoint": account.name, "outcome": "accepted", "limit": "1"}
        async with http.get(f"{system.internal}/v1/admin/webhooks/deliveries", params=query, headers=ADMIN) as answer:
            assert {each["endpoint"] for each in (await answer.json())["items"]} == {account.name}
        await account.call("DELETE")
        await account.until(404)
