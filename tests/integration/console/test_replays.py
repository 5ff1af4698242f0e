"""Replays in the console: started from filters after a dry run, followed, cancelled, and listed."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from runtime.ids import new_id
from tests.console import READER, assert_sound, signed_in, visitor
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from uuid import UUID

    from tests.gateways import Gateway, StartGateway

SCRIPT = "<script>document.title='got in'</script>"


def replay_in(database_url: str, states: dict[str, int], state: str = "done", **changes: Any) -> UUID:
    """Store a replay with the given number of deliveries in each state."""
    found = new_id()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """insert into webhook_replays (id, state, requested_by, reason, filters, rate, matched, finished_at)
               values (%s, %s, 'abcd1234', %s, %s, 5, %s, case when %s <> 'running' then now() end)""",
            (
                found,
                state,
                changes.get("reason"),
                Jsonb(changes.get("filters", {"source": "stripe"})),
                sum(states.values()),
                state,
            ),
        )
        numbers = iter(range(1, 1000))
        for each, count in states.items():
            for _ in range(count):
                sent = "now()" if each == "sent" else "null"
                connection.execute(
                    f"""insert into webhook_replay_items
                          (replay_id, n, delivery_id, source, type, outcome, event_id, state, reason, enqueued_at)
                        values (%s, %s, %s, 'stripe', 'payment_intent.succeeded', 'accepted', %s, %s, %s, {sent})""".encode(),
                    (found, next(numbers), new_id(), new_id(), each, "signature_wrong" if each == "failed" else None),
                )
    return found


async def deliver(gateway: Gateway, count: int) -> None:
    for n in range(count):
        await gateway.post(Payment(id=f"pi_{n}").succeeded(event_id=f"evt_{n}"))


async def test_they_are_sound_empty_and_full(gateway: Gateway, database_url: str) -> None:
    await assert_sound(gateway, "/console/replays")
    one = replay_in(database_url, {"processed": 2, "unchanged": 1, "failed": 1}, "failed", reason="x" * 300)
    replay_in(database_url, {"processed": 1}, filters={"ids": [str(new_id()) for _ in range(9)], "types": ["a.b"]})
    for path in ("/console/replays", f"/console/replays/{one}"):
        await assert_sound(gateway, path)


async def test_a_person_begins_one_after_its_dry_run_and_cancels_it(gateway: Gateway) -> None:
    """No relay runs, so that nothing is handled: what was sent is in flight until it is cancelled."""
    await deliver(gateway, 2)
    async with signed_in(gateway, "/console/replays") as looked:
        await looked.page.get_by_label("Source").select_option("stripe")
        await looked.page.get_by_label("Types").fill("payment_intent.succeeded, charge.refunded")
        await looked.page.get_by_label("Per second").fill("50")
        await looked.page.get_by_label("Reason").fill("a test")
        await looked.page.get_by_role("button", name="Show the effect").click()
        await looked.page.get_by_text("A replay of 2 deliveries would").wait_for()
        assert await gateway.rows("webhook_replays") == []
        await looked.page.get_by_role("button", name="Replay 2 now").click()
        await looked.page.get_by_text("Kafka does not answer").wait_for()
        await looked.page.get_by_text("Cancel…").click()
        await looked.page.get_by_role("button", name="Cancel the replay").click()
        await looked.page.get_by_text("Replay cancelled").wait_for()
        assert looked.faults == []
    [row] = await gateway.rows("webhook_replays")
    filters = {"source": "stripe", "types": ["payment_intent.succeeded", "charge.refunded"]}
    assert (row["state"], row["filters"], row["rate"], row["reason"]) == ("cancelled", filters, 50, "a test")
    await gateway.resources.audit.flush()
    calls = [row["path"] for row in await gateway.rows("audit_log") if row["path"].startswith("/console/replays")]
    assert calls == ["/console/replays/preview", "/console/replays", "/console/replays/{id}/cancel"]


async def test_the_form_of_a_preview_begins_one_replay_however_often_it_is_sent(gateway: Gateway, database_url: str) -> None:
    await deliver(gateway, 2)
    operator = await visitor(gateway, database_url)
    shown = (await operator.post("/console/replays/preview", source="stripe")).text
    form = dict(
        re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown.partition('action="/console/replays"')[2])
    )
    answers = await asyncio.gather(*(operator.post("/console/replays", **form) for _ in range(3)))
    assert [answer.status for answer in answers] == [200] * 3
    [row] = await gateway.rows("webhook_replays")
    assert (str(row["id"]), row["matched"]) == (form["replay_id"], 2)
    assert all(form["replay_id"] in answer.text for answer in answers)
    for wrong in ("", "x", "00000000-0000-0000-0000-000000000000"):
        assert (await operator.post("/console/replays", source="stripe", replay_id=wrong)).status == 404
    again = (await operator.post("/console/replays/preview", source="stripe")).text
    assert form["replay_id"] not in again


async def test_a_preview_of_an_older_release_which_has_no_id_begins_a_replay(gateway: Gateway, database_url: str) -> None:
    await deliver(gateway, 2)
    operator = await visitor(gateway, database_url)
    assert (await operator.post("/console/replays", source="stripe")).status == 200
    [row] = await gateway.rows("webhook_replays")
    assert (row["filters"], row["matched"]) == ({"source": "stripe"}, 2)


async def test_every_form_of_a_replay_waits_for_as_long_as_the_search_may_take(gateway: Gateway, database_url: str) -> None:
    await deliver(gateway, 1)
    await gateway.post(Payment().succeeded(), secret="whsec_wrong")
    await gateway.resources.rejections.flush()
    rows = await gateway.rows("webhook_deliveries")
    found = {row["outcome"]: row["id"] for row in rows}
    operator = await visitor(gateway, database_url)
    paths = ("replays", "deliveries?source=stripe", f"deliveries/{found['rejected']}", f"journey/{found['accepted']}")
    pages = [await operator.get(f"/console/{path}") for path in paths]
    for text in (each.text for each in (await operator.post("/console/replays/preview", source="stripe"), *pages)):
        forms = re.findall(r'<form[^>]* hx-post="/console/replays(?:/preview)?"[^>]*>', text)
        assert forms, text
        assert all('"timeout": 40000' in form for form in forms)


async def test_what_it_cannot_do_is_shown_beside_the_form(gateway: Gateway) -> None:
    async with signed_in(gateway, "/console/replays") as looked:
        await looked.page.get_by_role("button", name="Show the effect").click()
        await looked.page.get_by_text("filter_missing").wait_for()
        await looked.page.get_by_label("From, UTC").fill("yesterday")
        await looked.page.get_by_role("button", name="Show the effect").click()
        await looked.page.get_by_text("from is a time like").wait_for()


async def test_progress_and_failures_are_shown_and_the_deliveries_by_state(gateway: Gateway, database_url: str) -> None:
    found = replay_in(database_url, {"processed": 2, "failed": 3, "unchanged": 1}, "failed", reason="wrong secret")
    operator = await visitor(gateway, database_url)
    text = (await operator.get(f"/console/replays/{found}")).text
    assert ('max="6" value="6"' in text, "3 <code>signature_wrong" in text, "wrong secret" in text) == (True, True, True)
    failed = (await operator.get(f"/console/replays/{found}?state=failed&limit=2")).text
    assert (failed.count("<tr><th scope"), "cursor=4" in failed) == (2, True)
    rest = (await operator.get(f"/console/replays/{found}?state=failed&cursor=4")).text
    assert (rest.count("<tr><th scope"), "cursor=" in rest) == (1, False)


async def test_older_ones_are_on_the_next_page_with_their_authors(gateway: Gateway, database_url: str) -> None:
    made = [replay_in(database_url, {"processed": 1}, filters={"status": "rejected"}) for _ in range(3)]
    operator = await visitor(gateway, database_url)
    first = (await operator.get("/console/replays?limit=2")).text
    following = first.partition('href="/console/replays?cursor=')[2].partition('"')[0]
    second = (await operator.get(f"/console/replays?limit=2&cursor={following}")).text
    links = [[f'/console/replays/{each}"' in text for each in reversed(made)] for text in (first, second)]
    assert links == [[True, True, False], [False, False, True]]
    assert ("abcd1234" in first, "rejected" in first) == (True, True)


@pytest.mark.parametrize("query", ["cursor=%00", "limit=0", "odd=1"])
async def test_a_page_that_cannot_be_is_refused(gateway: Gateway, database_url: str, query: str) -> None:
    assert (await (await visitor(gateway, database_url)).get(f"/console/replays?{query}")).status == 400


async def test_one_that_has_ended_is_not_cancelled(gateway: Gateway, database_url: str) -> None:
    found = replay_in(database_url, {"processed": 1})
    answer = await (await visitor(gateway, database_url)).post(f"/console/replays/{found}/cancel")
    assert (answer.status, "replay_ended" in answer.text) == (409, True)


async def test_texts_of_people_are_escaped_and_a_reader_starts_and_cancels_nothing(
    start_gateway: StartGateway, database_url: str
) -> None:
    found = replay_in(database_url, {"processed": 1}, reason=f"why{SCRIPT}", filters={"account": SCRIPT})
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        for path in ("/console/replays", f"/console/replays/{found}"):
            async with signed_in(gateway, path) as looked:
                assert (await looked.page.inner_text("main")).count(SCRIPT) == 2
                assert ("got in" in await looked.page.title(), looked.faults) == (False, [])
        reader = await visitor(gateway, database_url, role="reader")
        text = (await reader.get("/console/replays")).text
        assert ("Begin a replay" in text, f"/console/replays/{found}" in text) == (False, True)
