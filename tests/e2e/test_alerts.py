"""An alert reaches the operators by mail, once, with a link to its runbook page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.sender import post_stripe
from tests.simulators import stripe
from tests.waiting import eventually

if TYPE_CHECKING:
    import aiohttp

    from tests.system import System

OPERATORS = "operators@tallyhook.local"


async def test_a_flood_of_wrong_signatures_is_mailed_to_the_operators_once(system: System, http: aiohttp.ClientSession) -> None:
    body = stripe.Payment().created(int(time.time()))
    answers = [await post_stripe(http, system.public, body, secret="whsec_wrong") for _ in range(45)]
    assert {answer.status for answer in answers} == {401}

    async def mailed() -> list[dict[str, Any]] | None:
        async with http.get(system.mail, params={"to": OPERATORS}) as answer:
            items = (await answer.json())["items"]
        return [mail for mail in items if "signature_failures" in mail["subject"] + mail["text"]] or None

    [mail] = await eventually(mailed)
    assert "runbooks/signature-failures.md" in mail["text"]
    assert "stripe" in mail["text"]
