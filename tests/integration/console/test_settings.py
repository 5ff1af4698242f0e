"""Settings in the console: secrets, the retention, the runtime configuration and its history, and the audit log."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from console.screens import settings
from operations.retention import store
from outbox import pages, partitions
from runtime.ids import new_id
from runtime.seals import new_key
from runtime.settings import Secret
from tests.console import NARROW, READER, TOKEN, assert_sound, signed_in, visitor
from tests.gateways import OLD_SECRET
from tests.integration.operations.test_endpoints import EU, call, until
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from console.sessions import Role
    from tests.gateways import Gateway, StartGateway

CONFIG = "/console/settings/config"
HISTORY = f"{CONFIG}/history"
AUDIT = "/console/settings/audit"
ROLES: Final[tuple[Role, ...]] = ("admin", "reader")
SCRIPT = "<script>document.title='got in'</script>"


async def set_key(gateway: Gateway, database_url: str, key: str, value: str) -> str:
    """Set a key as the page's form does, and return the page that follows."""
    return (await (await visitor(gateway, database_url)).post(CONFIG, key=key, value=value)).text


async def let_things_happen(database_url: str) -> None:
    """Store a sent message of the alerts worker and a run of the retention."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(
            """insert into retention_cutoffs (kind, cutoff, moved_at) values ('days', now() - interval '2 days', now()),
               ('leads', now() - interval '365 days', now()) on conflict (kind) do update set moved_at = now()"""
        )
        await connection.execute(
            "insert into detached_partitions (partition, detached_at) values ('outbox_20200101', now() - interval '1 hour')"
        )


@pytest.mark.parametrize("path", ["/console/settings", CONFIG, HISTORY, AUDIT])
async def test_it_is_sound_empty_and_full(gateway: Gateway, database_url: str, path: str) -> None:
    await assert_sound(gateway, path)
    await gateway.post(Payment(id="pi_1").succeeded(event_id="evt_1"), secret=OLD_SECRET)
    await set_key(gateway, database_url, "lead.max_attempts", "12")
    await set_key(gateway, database_url, "shop:banner", '"' + "x" * 400 + '"')
    await let_things_happen(database_url)
    await assert_sound(gateway, path)


async def test_a_secret_is_shown_with_its_use_and_never_itself(gateway: Gateway, database_url: str) -> None:
    await gateway.post(Payment(id="pi_1").succeeded(event_id="evt_1"), secret=OLD_SECRET)
    text = (await (await visitor(gateway, database_url)).get("/console/settings")).text
    assert (Secret(OLD_SECRET).id in text, Secret(TOKEN).id in text, OLD_SECRET in text) == (True, True, False)
    assert "The newest one of its setting has not been used yet" in text


async def test_on_a_phone_the_present_screen_is_in_sight_though_it_is_the_last(gateway: Gateway) -> None:
    async with signed_in(gateway, "/console/settings", width=NARROW) as looked:
        box = await looked.page.locator("nav [aria-current]").bounding_box()
        assert box
        assert 0 <= box["x"] < box["x"] + box["width"] <= NARROW


async def test_many_secrets_are_shown_in_part_and_narrowed_by_their_setting(
    start_gateway: StartGateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "_SECRETS", 3)
    async with start_gateway(PARTNER_ACME_SECRET="one,two", PARTNER_OTHER_SECRET="three") as gateway:
        operator = await visitor(gateway, database_url)
        assert "These are the first 3" in (await operator.get("/console/settings")).text
        text = (await operator.get("/console/settings?setting=partner_acme")).text
        assert (text.count("PARTNER_ACME_SECRET"), "PARTNER_OTHER" in text, "the first 3" in text) == (2, False, False)
        assert "No setting of secrets" in (await operator.get("/console/settings?setting=%3Cscript%3E")).text


async def test_secrets_of_endpoints_are_found_in_any_case(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway(SECRET_KEYS=new_key()) as gateway:
        assert (await call(gateway, "PUT", "/stripe/eu", {"secrets": [EU]}))[0] == 201
        await until(gateway, "stripe/eu", EU)
        operator = await visitor(gateway, database_url)
        for begins in ("endpoint+stripe/", "Endpoint+STRIPE/E"):
            text = (await operator.get(f"/console/settings?setting={begins}")).text
            assert ("endpoint stripe/eu" in text, "No setting of secrets" in text) == (True, False)


async def test_a_reader_sees_no_caller_in_the_audit_log_and_filters_on_by_its_own_words(
    start_gateway: StartGateway, database_url: str
) -> None:
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        with psycopg.connect(database_url) as connection:
            for _ in range(3):
                connection.execute(
                    """insert into audit_log (id, method, path, status, trace_id, duration_ms, client)
                       values (%s, 'CLI', 'erase ada@example.com', 200, '', 0, 'the-account')""",
                    (new_id(),),
                )
        operator, reader = [await visitor(gateway, database_url, role=role) for role in ROLES]
        asked = f"{AUDIT}?path=erase+ada%40example.com&limit=2"
        assert "the-account" in (await operator.get(asked)).text
        text = (await reader.get(asked)).text
        following = text.partition(f'href="{AUDIT}?')[2].partition('"')[0].replace("&amp;", "&")
        assert ("the-account" in text, 'value="erase ada@example.com"' in text, text.count("erase (masked)")) == (False, True, 2)
        assert (await reader.get(f"{AUDIT}?{following}")).text.count("erase (masked)") == 1
        entries = await (await gateway.get("/v1/admin/audit?path=erase", {"X-Internal-Token": READER})).json()
        assert {entry["client"] for entry in entries["items"]} == {"(masked)"}


async def test_a_filtered_page_of_the_audit_log_looks_at_a_bounded_number_and_leads_on(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = await visitor(gateway, database_url)
    for path in ("/console/sign-out", CONFIG, CONFIG, CONFIG):
        await operator.post(path, form_token="of another")
    monkeypatch.setattr(pages, "ROWS_READ_MAX", 3)
    asked = f"{AUDIT}?path=/console/sign-out"
    first = (await operator.get(asked)).text
    following = first.partition(f'href="{AUDIT}?')[2].partition('"')[0].replace("&amp;", "&")
    second = (await operator.get(f"{AUDIT}?{following}")).text
    assert [(text.count("/console/sign-out</th>"), "Search older ones" in text) for text in (first, second)] == [
        (0, True),
        (1, False),
    ]


async def test_messages_about_alerts_are_text_and_a_reader_sees_no_address(
    start_gateway: StartGateway, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        for to in (SCRIPT, "ada@example.com"):
            connection.execute(
                """insert into notifications (id, recipient, channel, template, data, status, address, message_id, traceparent)
                   values (%s, %s, 'EMAIL', 'operator-alert', '{}', 'sent', 'a@example.com', '', '')""",
                (new_id(), to),
            )
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        async with signed_in(gateway, "/console/settings") as looked:
            assert SCRIPT in await looked.page.inner_text("body")
            assert ("got in" in await looked.page.title(), looked.faults) == (False, [])
        seen = [(await (await visitor(gateway, database_url, role=role)).get("/console/settings")).text for role in ROLES]
        assert ["ada@example.com" in text for text in seen] == [True, False]


async def test_the_retention_shows_its_last_run_and_the_next(gateway: Gateway, database_url: str) -> None:
    operator = await visitor(gateway, database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("delete from retention_cutoffs")
        assert "tallyhook retention" in (await operator.get("/console/settings")).text
        row = connection.execute("select now()").fetchone()
        assert row
        partitions.maintain(connection, row[0], timedelta(days=2))
        text = (await operator.get("/console/settings")).text
        assert ("Next run" in text, "overdue" in text) == (True, False)
        connection.execute("update retention_cutoffs set moved_at = now() - interval '3 hours'")
        assert "The next run is overdue" in (await operator.get("/console/settings")).text
    answer = await gateway.get("/v1/admin/retention")
    found = await answer.json()
    assert (answer.status, [each["kind"] for each in found["kept"]], found["away"]) == (200, ["days"], [])
    async with await psycopg.AsyncConnection.connect(database_url) as reader:
        kept = await store.read(reader)
    assert kept.next_run is not None
    assert kept.last_run is not None
    assert kept.next_run - kept.last_run == timedelta(hours=1)


async def test_a_key_is_set_after_the_page_has_shown_what_it_would_do(gateway: Gateway) -> None:
    async with signed_in(gateway, CONFIG) as looked:
        await looked.page.get_by_label("Key").fill("rate_limit.partners")
        await looked.page.get_by_label("Value").fill("50/second")
        await looked.page.get_by_role("button", name="Show the effect").click()
        await looked.page.get_by_text("the present value is its default").wait_for()
        assert await gateway.rows("config") == []
        await looked.page.get_by_role("button", name="Set rate_limit.partners").click()
        await looked.page.get_by_text("version 1").wait_for()
        await looked.page.get_by_role("link", name="Show all keys").click()
        await looked.page.locator('tr:has-text("rate_limit.partners"):has-text("50/second")').wait_for()
        await looked.page.get_by_role("link", name="version 1").click()
        await looked.page.wait_for_url("**history?key=rate_limit.partners")
        assert Secret(TOKEN).id in await looked.page.inner_text("main")
        await looked.page.goto(f"{gateway.internal}{AUDIT}?path=/console/settings/config")
        assert await looked.page.locator("tbody tr").count() == 2
        assert looked.faults == []
    [row] = await gateway.rows("config")
    assert (row["key"], row["value"], row["version"]) == ("rate_limit.partners", "50/second", 1)


async def test_the_default_is_given_back(gateway: Gateway, database_url: str) -> None:
    await set_key(gateway, database_url, "lead.max_attempts", "12")
    async with signed_in(gateway, CONFIG) as looked:
        await looked.page.get_by_role("link", name="Change lead.max_attempts").click()
        await looked.page.get_by_role("button", name="Restore the default").click()
        await looked.page.get_by_role("button", name="Set lead.max_attempts").click()
        await looked.page.get_by_text("is its default, version 2").wait_for()
        assert looked.faults == []
    [row] = await gateway.rows("config")
    assert (row["value"], row["version"]) == (None, 2)


async def test_a_change_made_meanwhile_is_not_overwritten(gateway: Gateway, database_url: str) -> None:
    await set_key(gateway, database_url, "lead.max_attempts", "12")
    operator = await visitor(gateway, database_url)
    late = await operator.post(CONFIG, key="lead.max_attempts", value="3", version="0")
    assert (late.status, "version_stale" in late.text) == (409, True)
    assert [row["value"] for row in await gateway.rows("config")] == [12]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": "lead.max_attempts", "value": "many"}, "config_value_invalid"),
        ({"key": "lead.unheard_of", "value": "1"}, "config_key_unknown"),
        ({"key": "lead.max_attempts"}, "field_invalid"),
        ({"key": "no key", "value": "1"}, "query_malformed"),
    ],
)
async def test_a_value_that_cannot_be_used_is_refused(
    gateway: Gateway, database_url: str, fields: dict[str, str], reason: str
) -> None:
    operator = await visitor(gateway, database_url)
    for path in (CONFIG, f"{CONFIG}/preview"):
        answer = await operator.post(path, **fields)
        assert (400 <= answer.status < 500, reason in answer.text) == (True, True), answer.text
    assert await gateway.rows("config") == []


@pytest.mark.parametrize("path", [HISTORY, AUDIT])
async def test_older_ones_are_on_the_next_page(gateway: Gateway, database_url: str, path: str) -> None:
    for value in ("1", "2", "3"):
        await set_key(gateway, database_url, "lead.max_attempts", value)
    operator = await visitor(gateway, database_url)
    first = (await operator.get(f"{path}?limit=2")).text
    following = first.partition(f'href="{path}?limit=2&amp;cursor=')[2].partition('"')[0]
    second = (await operator.get(f"{path}?limit=2&cursor={following}")).text
    assert (first.count("<tr>"), second.count("<tr>"), "Older ones" in second) == (3, 2, False)


@pytest.mark.parametrize("path", [HISTORY, AUDIT])
async def test_an_invalid_filter_is_reported_on_the_page(gateway: Gateway, database_url: str, path: str) -> None:
    answer = await (await visitor(gateway, database_url)).get(f"{path}?from=yesterday")
    assert (answer.status, '<p class="alarm" role="alert">' in answer.text) == (400, True)


async def test_values_are_text_and_a_reader_sees_no_address_and_no_form(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        await set_key(gateway, database_url, "shop:banner", f"{SCRIPT} ada@example.com")
        for path in (CONFIG, HISTORY):
            async with signed_in(gateway, path) as looked:
                assert SCRIPT in await looked.page.inner_text("body")
                assert ("got in" in await looked.page.title(), looked.faults) == (False, [])
            reader = (await (await visitor(gateway, database_url, role="reader")).get(path)).text
            assert ("shop:banner" in reader, "ada@example.com" in reader, "Set a key" in reader) == (True, False, False)


async def test_a_value_that_cannot_be_used_is_marked(gateway: Gateway, database_url: str) -> None:
    await set_key(gateway, database_url, "lead.max_attempts", "12")
    await gateway.overwrite_config("lead.max_attempts", '"lots"')
    text = (await (await visitor(gateway, database_url)).get(CONFIG)).text
    assert "invalid; the previous value stays in force" in text
