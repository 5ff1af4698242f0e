"""A partner is added, used, rotated and removed through the API while load runs, and no lead is refused or lost by it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.simulators.crm import SECRET
from tests.simulators.partner import lead, sign
from tests.system import ADMIN
from tests.waiting import eventually

if TYPE_CHECKING:
    import aiohttp

    from tests.simulators.crm import Crm
    from tests.system import System


class Partner:
    """A partner that sends one lead after the other, signed by this secret."""

    def __init__(self, http: aiohttp.ClientSession, system: System, name: str, secret: str = "") -> None:
        self._http = http
        self._system = system
        self.name = name
        self.secret = secret
        self.sent: list[str] = []
        self.refused: list[tuple[int, str]] = []
        self.stopped = False

    async def call(self, method: str, path: str = "", body: Any = None) -> Any:
        url = f"{self._system.internal}/v1/admin/partners/{self.name}{path}"
        async with self._http.request(method, url, json=body, headers=ADMIN) as answer:
            result = await answer.json()
            assert answer.status in (200, 201), result
            return result

    async def send(self) -> int:
        body = lead(f"lead-{uuid4()}", self.name)
        headers = {"Content-Type": "application/json", "X-Partner-Signature": sign(body, self.secret, time.time())}
        async with self._http.post(f"{self._system.public}/v1/webhooks/partner/leads", data=body, headers=headers) as answer:
            result = await answer.json(content_type=None)
            if answer.status == 202:
                self.sent.append(result["id"])
            else:
                self.refused.append((answer.status, result["reason"]))
            return answer.status

    async def until(self, status: int) -> None:
        """Send until this is the answer."""

        async def answered() -> bool | None:
            return True if await self.send() == status else None

        await eventually(answered, every=0.1)

    async def send_on(self) -> None:
        while not self.stopped:
            await self.send()
            await asyncio.sleep(0.01)


async def test_a_partner_is_added_used_rotated_and_removed_while_load_runs(
    system: System, http: aiohttp.ClientSession, crm: Crm
) -> None:
    partner = Partner(http, system, f"api-{uuid4().hex[:8]}")
    made = await partner.call("PUT", "", {"crmUrl": f"{crm.url}/{partner.name}", "maxAttempts": 3})
    await partner.call("POST", "/secrets", {"kind": "crm", "value": SECRET})
    first = next(each for each in made["newSecrets"] if each["kind"] == "signing")
    partner.secret = first["value"]
    await partner.until(202)
    partner.refused.clear()
    load = asyncio.create_task(partner.send_on())

    more = await partner.call("POST", "/secrets", {"kind": "signing"})
    new = Partner(http, system, partner.name, more["newSecrets"][0]["value"])
    await new.until(202)
    partner.secret = new.secret
    await new.until(202)  # a lead with the old secret may be in flight until the next one is sent
    await partner.call("DELETE", f"/secrets/{first['id']}")
    old = Partner(http, system, partner.name, first["value"])
    await old.until(401)
    partner.stopped = True
    await load
    assert partner.refused == []
    sent = {*partner.sent, *new.sent, *old.sent}

    async def all_delivered() -> bool | None:
        return True if {*crm.ids(f"/{partner.name}")} == sent else None

    await eventually(all_delivered)
    assert len(crm.ids(f"/{partner.name}")) == len(sent)
    await partner.call("DELETE")
    await partner.until(401)
