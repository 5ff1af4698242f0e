"""Dead letters in the console: grouped, viewed, retried and discarded, one or all of a group."""

from __future__ import annotations

import json
import re
from itertools import count
from typing import TYPE_CHECKING

import psycopg
import pytest

from console.screens import dead_letters
from gateway.masking import MASK
from runtime.ids import new_id
from schemas.leads import REJECTED
from tests.console import READER, assert_sound, signed_in, visitor
from tests.integration.console.leads_in import attempt_in, lead_in

if TYPE_CHECKING:
    from uuid import UUID

    from tests.console import Visitor
    from tests.gateways import Gateway, StartGateway

OFFSETS = count()
SCRIPT = "<script>document.title='got in'</script>"


def set_aside(database_url: str, number: int, *, reason: str = "data_invalid", detail: str = "no amount") -> list[UUID]:
    """Store that many dead letters of the payments worker, whose events are not in the log."""
    ids = [new_id() for _ in range(number)]
    with psycopg.connect(database_url) as connection:
        for each in ids:
            connection.execute(
                """insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", key, value, headers)
                   values (%s, 'payments', %s, %s, 'webhooks.stripe', 3, %s, 'k', %s, '[]')""",
                (each, reason, detail, next(OFFSETS), b'{"amount": null}'),
            )
    return ids


async def states(gateway: Gateway) -> list[str]:
    return sorted(str(row["status"]) for row in await gateway.rows("dead_letters"))


async def test_it_is_sound_empty_and_full(gateway: Gateway, database_url: str) -> None:
    await assert_sound(gateway, "/console/dead-letters")
    set_aside(database_url, 2, detail="x" * 300)
    await assert_sound(gateway, "/console/dead-letters")


async def test_they_are_grouped_by_reason_with_their_runbook(gateway: Gateway, database_url: str) -> None:
    set_aside(database_url, 3)
    set_aside(database_url, 1, reason="dataschema_unknown")
    operator = await visitor(gateway, database_url)
    text = (await operator.get("/console/dead-letters")).text
    assert text.index("data_invalid") < text.index("dataschema_unknown")
    assert ("Settle all 3" in text, "Settle all 1" in text, "runbooks/" in text) == (True, True, True)


async def test_one_is_looked_at_and_sent_again(gateway: Gateway, database_url: str) -> None:
    set_aside(database_url, 1)
    async with signed_in(gateway, "/console/dead-letters") as looked:
        await looked.page.get_by_text("Show them").click()
        await looked.page.locator(".log summary").click()
        assert '"amount": null' in await looked.page.get_by_label("Record", exact=True).inner_text()
        await looked.page.get_by_role("button", name="Send it again").click()
        await looked.page.get_by_text("It was sent again").wait_for()
        assert looked.faults == []
    assert await states(gateway) == ["retried"]


async def test_one_is_discarded_with_a_reason_in_the_name_of_the_signed_in_operator(gateway: Gateway, database_url: str) -> None:
    [letter] = set_aside(database_url, 1)
    async with signed_in(gateway, "/console/dead-letters") as looked:
        await looked.page.get_by_text("Show them").click()
        await looked.page.locator(".log summary").click()
        await looked.page.get_by_label("Reason for discarding it").fill("a test of theirs")
        await looked.page.get_by_role("button", name="Discard it permanently").click()
        await looked.page.get_by_text("It was discarded: a test of theirs").wait_for()
        assert looked.faults == []
    [row] = await gateway.rows("dead_letters")
    assert (row["status"], row["discard_reason"], bool(row["settled_by"])) == ("discarded", "a test of theirs", True)
    operator = await visitor(gateway, database_url)
    again = await operator.post(f"/console/dead-letters/{letter}", verb="retry")
    assert (again.status, "dead_letter_settled" in again.text) == (409, True)


@pytest.mark.parametrize(("button", "state"), [("Send 5 again", "retried"), ("Discard 5 permanently", "discarded")])
async def test_all_of_a_group_are_settled_a_few_at_a_time(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch, button: str, state: str
) -> None:
    monkeypatch.setattr(dead_letters, "_BATCH", 2)
    set_aside(database_url, 5)
    set_aside(database_url, 1, reason="dataschema_unknown")
    async with signed_in(gateway, "/console/dead-letters") as looked:
        await looked.page.get_by_text("Settle all 5").click()
        if state == "discarded":
            await looked.page.get_by_label("Reason for discarding them").first.fill("a test")
        await looked.page.get_by_role("button", name=button).click()
        await looked.page.get_by_text("5 of 5").wait_for()
        await looked.page.get_by_role("link", name="Show the remaining ones").click()
        await looked.page.get_by_text("Settle all 1").wait_for()
        assert looked.faults == []
    assert await states(gateway) == sorted(["open", *[state] * 5])


def confirmed(text: str, **changes: str) -> dict[str, str]:
    """The fields of the form that sends the first group of the page again."""
    form = text.partition('name="verb"')[2].partition("</form>")[0]
    return {"verb": "retry", **dict(re.findall(r'name="(\w+)" value="([^"]*)"', form)), **changes}


async def settled_by(operator: Visitor, fields: dict[str, str]) -> list[str]:
    """Send a group's form until it is done, as the page does; return every answer."""
    parts = []
    while fields:
        parts.append((await operator.post("/console/dead-letters/group", **fields)).text)
        assert len(parts) < 20
        found = re.search("hx-vals='(.+?)'", parts[-1])
        fields = {name: str(value) for name, value in json.loads(found[1]).items() if value != ""} if found else {}
    return parts


async def test_only_confirmed_letters_are_settled_and_no_later_ones(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise letters that fail again at once would be sent for ever, and letters that the operator has not seen discarded."""
    monkeypatch.setattr(dead_letters, "_BATCH", 2)
    seen = set_aside(database_url, 5)
    operator = await visitor(gateway, database_url)
    fields = confirmed((await operator.get("/console/dead-letters")).text, verb="discard", why="a test")
    assert fields["of"] == "5"
    later = set_aside(database_url, 3)
    parts = await settled_by(operator, fields)
    rows = {row["id"]: row["status"] for row in await gateway.rows("dead_letters")}
    assert rows == dict.fromkeys(seen, "discarded") | dict.fromkeys(later, "open")
    assert ["5 of 5" in part for part in parts] == [False, False, True]


async def test_only_the_ones_that_were_counted_are_settled(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "_GROUPED_MAX", 3)
    older, newest = set_aside(database_url, 4), set_aside(database_url, 3)
    operator = await visitor(gateway, database_url)
    await settled_by(operator, confirmed((await operator.get("/console/dead-letters")).text))
    rows = {row["id"]: row["status"] for row in await gateway.rows("dead_letters")}
    assert rows == dict.fromkeys(older, "open") | dict.fromkeys(newest, "retried")


async def test_letters_that_another_operator_settles_meanwhile_are_reported(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "_BATCH", 2)
    seen = set_aside(database_url, 3)
    operator = await visitor(gateway, database_url)
    fields = confirmed((await operator.get("/console/dead-letters")).text)
    await operator.post(f"/console/dead-letters/{seen[1]}", verb="discard", why="faster")
    parts = await settled_by(operator, fields)
    assert ("2 of 3" in parts[-1], "The others were settled meanwhile" in parts[-1]) == (True, True)
    assert await states(gateway) == ["discarded", "retried", "retried"]


async def test_each_lead_of_a_group_is_sent_again_once(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lead stays open until its worker has tried it, so the status "open" does not show which ones are still to be sent."""
    monkeypatch.setattr(dead_letters, "_BATCH", 2)
    leads = [lead_in(database_url, "exhausted", external=f"crm-{n}") for n in range(5)]
    operator = await visitor(gateway, database_url)
    parts = await settled_by(operator, confirmed((await operator.get("/console/dead-letters")).text))
    asked = [row["aggregate_id"] for row in await gateway.rows("outbox")]
    assert sorted(asked) == sorted(str(each) for each in leads)
    assert ("5 of 5" in parts[-1], "A lead stays in the list" in parts[-1]) == (True, True)


async def test_a_lead_that_is_sent_again_is_shown_with_its_task(gateway: Gateway, database_url: str) -> None:
    lead = lead_in(database_url, "rejected")
    operator = await visitor(gateway, database_url)
    part = (await operator.post(f"/console/dead-letters/{lead}", verb="retry")).text
    [task] = await gateway.rows("tasks")
    assert (f"/console/journey/{task['id']}" in part, "new round of attempts" in part, "It is open" in part) == (
        True,
        True,
        False,
    )


async def test_nothing_is_settled_by_a_form_that_lacks_something(gateway: Gateway, database_url: str) -> None:
    """An empty reason in particular does not mean that they are sent again."""
    [letter] = set_aside(database_url, 1)
    operator = await visitor(gateway, database_url)
    fields = confirmed((await operator.get("/console/dead-letters")).text)
    forms = [{name: value for name, value in fields.items() if name != lacking} for lacking in fields]
    forms += [fields | {"verb": "discard"}, fields | {"why": "mistaken"}, fields | {"of": "2000"}, fields | {"after": "x"}]
    for form in forms:
        assert (await operator.post("/console/dead-letters/group", **form)).status == 400, form
    for one in ({}, {"why": "a test"}, {"verb": "discard", "why": ""}, {"verb": "retry", "why": "a test"}):
        assert (await operator.post(f"/console/dead-letters/{letter}", **one)).status == 400, one
    assert await states(gateway) == ["open"]
    assert (await operator.get("/console/dead-letters/members?of=abc")).status == 400


async def test_find_leads_to_the_page_of_one(gateway: Gateway, database_url: str) -> None:
    [letter] = set_aside(database_url, 1)
    operator = await visitor(gateway, database_url)
    found = await operator.get(f"/console/find?q={letter}")
    assert (found.status, found.headers["Location"]) == (303, f"/console/dead-letters/{letter}")
    await assert_sound(gateway, f"/console/dead-letters/{letter}")
    async with signed_in(gateway, f"/console/dead-letters/{letter}") as looked:
        await looked.page.get_by_role("button", name="Send it again").click()
        await looked.page.get_by_text("It was sent again").wait_for()
        assert looked.faults == []


async def test_a_reader_sees_no_answer_of_a_crm(start_gateway: StartGateway, database_url: str) -> None:
    lead = lead_in(database_url, "rejected", tried=1)
    attempt_in(database_url, lead, 1, "http_422", "Ada Lovelace is no customer")
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        operator, reader = await visitor(gateway, database_url), await visitor(gateway, database_url, role="reader")
        for path in ("", f"/members?consumer=leads&reason={REJECTED}", f"/{lead}", f"/{lead}/detail"):
            shown, masked = [(await each.get(f"/console/dead-letters{path}")).text for each in (operator, reader)]
            assert ("Lovelace" in shown, "Lovelace" in masked) == (not path.endswith("detail"), False), path
            assert MASK in masked or path.endswith("detail"), path


async def test_input_of_strangers_is_shown_as_text_and_readers_see_no_record(
    start_gateway: StartGateway, database_url: str
) -> None:
    [letter] = set_aside(database_url, 1, detail=f"no amount{SCRIPT}")
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        async with signed_in(gateway, "/console/dead-letters") as looked:
            assert SCRIPT in await looked.page.inner_text("body")
            assert ("got in" in await looked.page.title(), looked.faults) == (False, [])
        reader = await visitor(gateway, database_url, role="reader")
        listed, detail = [(await reader.get(f"/console/dead-letters{path}")).text for path in ("", f"/{letter}/detail")]
        assert ("Settle all" in listed, "amount&#34;: null" in detail, "Send it again" in detail) == (False, False, False)
