"""Dead letters in the console: grouped, looked at, sent again and given up, one or all of a group."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import psycopg
import pytest

from console.screens import dead_letters
from runtime.ids import new_id
from tests.console import READER, assert_sound, signed_in, visitor

if TYPE_CHECKING:
    from uuid import UUID

    from tests.gateways import Gateway, StartGateway

OFFSETS = count()
SCRIPT = "<script>document.title='got in'</script>"


def set_aside(database_url: str, number: int, *, reason: str = "data_invalid", detail: str = "no amount") -> list[UUID]:
    """So many records of the payments worker, not one of which is in the log."""
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
        await looked.page.get_by_text("Look at them").click()
        await looked.page.locator(".log summary").click()
        assert '"amount": null' in await looked.page.get_by_label("Record", exact=True).inner_text()
        await looked.page.get_by_role("button", name="Send it again").click()
        await looked.page.get_by_text("It was sent again").wait_for()
        assert looked.faults == []
    assert await states(gateway) == ["retried"]


async def test_one_is_given_up_with_a_reason_by_who_signed_in(gateway: Gateway, database_url: str) -> None:
    [letter] = set_aside(database_url, 1)
    async with signed_in(gateway, "/console/dead-letters") as looked:
        await looked.page.get_by_text("Look at them").click()
        await looked.page.locator(".log summary").click()
        await looked.page.get_by_label("Why it is given up").fill("a test of theirs")
        await looked.page.get_by_role("button", name="Discard it for good").click()
        await looked.page.get_by_text("It was given up: a test of theirs").wait_for()
        assert looked.faults == []
    [row] = await gateway.rows("dead_letters")
    assert (row["status"], row["discard_reason"], bool(row["settled_by"])) == ("discarded", "a test of theirs", True)
    operator = await visitor(gateway, database_url)
    again = await operator.post(f"/console/dead-letters/{letter}")
    assert (again.status, "dead_letter_settled" in again.text) == (409, True)


@pytest.mark.parametrize(("button", "state"), [("Send 5 again", "retried"), ("Discard 5 for good", "discarded")])
async def test_all_of_a_group_are_settled_a_few_at_a_time(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch, button: str, state: str
) -> None:
    monkeypatch.setattr(dead_letters, "_AT_ONCE", 2)
    set_aside(database_url, 5)
    set_aside(database_url, 1, reason="dataschema_unknown")
    async with signed_in(gateway, "/console/dead-letters") as looked:
        await looked.page.get_by_text("Settle all 5").click()
        if state == "discarded":
            await looked.page.get_by_label("Why they are given up").first.fill("a test")
        await looked.page.get_by_role("button", name=button).click()
        await looked.page.get_by_text("5 of 5").wait_for()
        await looked.page.get_by_role("link", name="Show what is left").click()
        await looked.page.get_by_text("Settle all 1").wait_for()
        assert looked.faults == []
    assert await states(gateway) == sorted(["open", *[state] * 5])


async def test_a_group_ends_at_its_first_count_though_more_have_come(gateway: Gateway, database_url: str) -> None:
    """Those that fail again at once would otherwise be sent for ever."""
    set_aside(database_url, 30)
    operator = await visitor(gateway, database_url)
    part = (
        await operator.post("/console/dead-letters/group", consumer="payments", reason="data_invalid", of="40", done="15")
    ).text
    assert ("40 of 40" in part, "hx-post" in part) == (True, False)
    assert (await states(gateway)).count("open") == 5


async def test_what_strangers_send_is_text_and_readers_see_no_record(start_gateway: StartGateway, database_url: str) -> None:
    [letter] = set_aside(database_url, 1, detail=f"no amount{SCRIPT}")
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        async with signed_in(gateway, "/console/dead-letters") as looked:
            assert SCRIPT in await looked.page.inner_text("body")
            assert ("got in" in await looked.page.title(), looked.faults) == (False, [])
        reader = await visitor(gateway, database_url, role="reader")
        listed, detail = [(await reader.get(f"/console/dead-letters{path}")).text for path in ("", f"/{letter}/detail")]
        assert ("Settle all" in listed, "amount&#34;: null" in detail, "Send it again" in detail) == (False, False, False)
