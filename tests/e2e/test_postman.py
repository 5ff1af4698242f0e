"""The Postman collection, run by newman against the running system."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from typing import TYPE_CHECKING

from ops.contracts.postman import COLLECTION
from tests.npm import NEWMAN, npm_package
from tests.system import ADMIN, RAZORPAY_SECRET, SERVICE, STRIPE_SECRET

if TYPE_CHECKING:
    from tests.simulators.crm import Crm
    from tests.system import System


async def test_every_flow_of_the_contract_passes_under_newman(system: System, crm: Crm) -> None:
    del crm  # this CRM accepts the lead
    newman = npm_package(NEWMAN) / "node_modules" / ".bin" / "newman"
    stack = {
        "public": system.public, "internal": system.internal, "stripeSecret": STRIPE_SECRET, "razorpaySecret": RAZORPAY_SECRET,
        "serviceToken": SERVICE["X-Internal-Token"], "adminToken": ADMIN["X-Internal-Token"], "partnerId": "acme",
        "partnerSecret": "acme-secret",
    }  # fmt: skip
    given = [part for name, value in stack.items() for part in ("--env-var", f"{name}={value}")]
    child = await asyncio.create_subprocess_exec(
        str(newman), "run", str(COLLECTION), "--color", "off", "--timeout-request", "15000", *given, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await child.communicate()
    assert child.returncode == 0, output.decode()
