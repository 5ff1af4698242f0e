"""From an id to the whole journey of its event, and its replay."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.console import READER, TOKEN, assert_sound, signed_in, visitor
from tests.integration.console.leads_in import attempt_in, lead_in
from tests.integration.operations.test_find import caused
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway

SCRIPT = "<script>document.title='got in'</script>"


async def paid(gateway: Gateway, **fields: str) -> str:
    answer = await gateway.post(Payment(id="pi_1").succeeded(event_id="evt_1"), **fields)
    return str((await answer.json())["id"])


async def test_a_person_finds_a_payment_by_the_providers_id_and_reads_its_body(gateway: Gateway) -> None:
    event = await paid(gateway)
    async with signed_in(gateway) as looked:
        await looked.page.get_by_role("searchbox", name="Find any id").fill("evt_1")
        await looked.page.keyboard.press("Enter")
        await looked.page.wait_for_url(f"{gateway.internal}/console/journey/{event}")
        assert await looked.page.get_by_text("stripe called").is_visible()
        await looked.page.get_by_text("Body", exact=True).click()
        shown = looked.page.get_by_label("Body", exact=True)
        await shown.wait_for()
        assert json.loads(await shown.inner_text())["id"] == "evt_1"
        assert looked.faults == []


async def test_the_steps_of_a_journey_are_in_order_and_its_consequences_below_it(gateway: Gateway, database_url: str) -> None:
    event, effect, message = await caused(gateway, database_url)
    operator = await visitor(gateway, database_url)
    text = (await operator.get(f"/console/journey/{event}")).text
    tree = text.partition("Causes and consequences")[2]
    words = [f"/console/journey/{effect.id}", "depth-2", f"/console/journey/{message.id}"]
    places = [tree.find(word) for word in words]
    assert ("stripe called" in text, "payments worker" in text, places == sorted(places), -1 in places) == (
        True,
        True,
        True,
        False,
    )
    await assert_sound(gateway, f"/console/journey/{event}")


async def test_replaying_a_rejected_delivery_shows_what_it_would_do_first(gateway: Gateway) -> None:
    await gateway.post(Payment(id="pi_1").succeeded(event_id="evt_1"), secret="wrong")
    await gateway.resources.rejections.flush()
    async with signed_in(gateway, "/console/deliveries") as looked:
        await looked.page.locator(".log summary").click()
        await looked.page.get_by_role("button", name="Would the present secrets accept it?").click()
        await looked.page.get_by_text("are still refused").wait_for()
        assert await gateway.rows("webhook_replays") == []
        assert looked.faults == []


async def test_a_replay_is_started_after_its_dry_run_by_the_signed_in_operator(gateway: Gateway) -> None:
    event = await paid(gateway)
    async with signed_in(gateway, f"/console/journey/{event}") as looked:
        await looked.page.get_by_role("button", name="Replay this").click()
        await looked.page.get_by_role("button", name="Replay 1 now").click()
        await looked.page.get_by_text("Replay running").or_(looked.page.get_by_text("Replay done")).first.wait_for()
        assert looked.faults == []
    (replay,) = await gateway.rows("webhook_replays")
    assert (replay["matched"], replay["filters"]) == (1, {"ids": [event]})
    await gateway.resources.audit.flush()
    calls = [(row["path"], row["role"]) for row in await gateway.rows("audit_log") if row["path"].startswith("/console/replays")]
    assert calls == [("/console/replays/preview", "admin"), ("/console/replays", "admin")]


async def test_input_of_strangers_is_shown_as_text(gateway: Gateway) -> None:
    body = Payment(id="pi_1").succeeded(event_id="evt_1").replace(b'"evt_1"', json.dumps(f"evt_1{SCRIPT}").encode())
    event = (await (await gateway.post(body, User_Agent=f"Stripe{SCRIPT}")).json())["id"]
    async with signed_in(gateway, f"/console/journey/{event}") as looked:
        for closed in await looked.page.locator("summary").all():
            await closed.click()
        await looked.page.get_by_label("Body", exact=True).wait_for()
        assert SCRIPT in await looked.page.inner_text("body")
        assert ("got in" in await looked.page.title(), looked.faults) == (False, [])


@pytest.mark.parametrize("wanted", ["nothing-has-this-id", SCRIPT, "'"])
async def test_an_id_that_is_not_found_is_reported(gateway: Gateway, database_url: str, wanted: str) -> None:
    operator = await visitor(gateway, database_url)
    answer = await operator.get(f"/console/find?q={wanted}")
    assert (answer.status, "Nothing has this id" in answer.text, SCRIPT in answer.text) == (200, True, False)


async def test_find_is_sound(gateway: Gateway) -> None:
    await assert_sound(gateway, "/console/find")
    await paid(gateway)
    await assert_sound(gateway, "/console/find?q=pi_1")


async def test_a_session_that_reads_sees_no_body_and_no_replay(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        event = await paid(gateway)
        reader = await visitor(gateway, database_url, role="reader")
        page = await reader.get(f"/console/journey/{event}")
        shown = (await (await visitor(gateway, database_url)).get(f"/console/journey/{event}")).text
        assert [re.sub("<[^>]*>", "", text).count("Belongs to(masked)") for text in (page.text, shown)] == [1, 0]
        body = await reader.get(f"/console/journey/{event}/body")
        detail = await reader.get(f"/console/deliveries/{event}/detail")
        assert (page.status, "Replay this" in page.text, "127.0.0.1" in page.text, "Stripe-Signature" in page.text) == (
            200,
            False,
            False,
            False,
        )
        assert ("evt_1" in body.text, "evt_1&#34;" in detail.text, "Stripe-Signature" in detail.text) == (False, False, False)


async def test_the_answer_of_a_crm_is_in_the_timeline_for_those_who_may_read_it(
    start_gateway: StartGateway, database_url: str
) -> None:
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        event = await paid(gateway)
        lead_in(database_url, id=event)
        attempt_in(database_url, UUID(event), 1, "http_500", "Ada is known here")
        shown = {}
        for role in ("admin", "reader"):
            text = (await (await visitor(gateway, database_url, role=role)).get(f"/console/journey/{event}")).text
            shown[role] = ("attempt 1" in text, "Ada is known here" in text)
        assert shown == {"admin": (True, True), "reader": (True, False)}
        for token, excerpt in ((TOKEN, "Ada is known here"), (READER, "(masked)")):
            found = await (await gateway.get(f"/v1/admin/events/{event}", {"X-Internal-Token": token})).json()
            assert [each["excerpt"] for each in found["touched"] if each["kind"] == "attempt"] == [excerpt]
