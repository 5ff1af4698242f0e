"""A reader's token: it sees everything but raw bodies and personal data, and changes nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp
import psycopg
import pytest

from gateway.settings import GatewaySettings
from ops.processes.applications import build_internal, opened
from ops.processes.routes import INTERNAL
from outbox.append import append
from runtime.ids import new_id
from runtime.secret_files import Environ
from runtime.secret_watch import SecretWatch
from runtime.settings import Secret, SettingsError
from schemas.envelope import Event
from tests.gateways import ADMIN, listening
from tests.integration.gateway.test_every_route import call, status_and_reason
from tests.mounts import Mount
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from tests.gateways import Gateway, StartGateway

READER: Final = {"X-Internal-Token": "reader"}
GUARDED: Final = [route for route in INTERNAL if route.role]
_ASKS_KAFKA: Final = "admin_topology"
EMAIL, PHONE, NAME = "canary@example.com", "+4915112345678", "Canary Bird"


class Ids(NamedTuple):
    """An event, and what has personal data: the message that it caused, a lead, and a dead letter."""

    event: UUID
    notification: UUID
    lead: UUID
    letter: UUID


@asynccontextmanager
async def reading(start_gateway: StartGateway, **changes: str) -> AsyncIterator[Gateway]:
    async with start_gateway(READ_API_TOKEN="reader", COMMAND_WAIT="1ms", **changes) as gateway:
        yield gateway


async def test_a_reader_reaches_all_that_changes_nothing_and_nothing_else(start_gateway: StartGateway) -> None:
    refused = set()
    async with reading(start_gateway) as gateway:
        for route in GUARDED:
            if route.name == _ASKS_KAFKA:
                continue
            answer = await call(gateway, route, "reader")
            assert answer.status not in {401, 500}, route.name
            if answer.status == 403:
                assert (await status_and_reason(answer))[1] == "token_read_only"
                refused.add(route.name)
    assert refused == {route.name for route in GUARDED if route.method != "GET"} | {"admin_body"}


async def fill(gateway: Gateway, database_url: str) -> Ids:
    """Store personal data in each place that an erasure searches; the key of the message is an address."""
    await gateway.post(Payment(id="pi_9").succeeded(event_id="evt_9"), User_Agent=f"browser of {NAME}")
    [cause] = await gateway.rows("outbox")
    ids = Ids(cause["id"], new_id(), new_id(), new_id())
    kept = {name: cause[name] for name in ("occurred_at", "traceparent", "source", "dataschema")}
    message = Event(
        id=ids.notification, topic="notification.commands", type="notification.send", data=b"", aggregate_type="notification",
        aggregate_id=EMAIL, causation_id=cause["id"], **kept,
    )  # fmt: skip
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await append(connection, [message])
        run = connection.execute
        await run(
            "insert into contacts (user_id, email, phone, push) values ('user-7', %s, %s, %s)", (EMAIL, PHONE, "canary-push")
        )
        await run(
            """insert into notifications (id, recipient, channel, template, data, address, message_id, status, reason, error,
                 traceparent)
               values (%s, %s, 'EMAIL', 't', '{}', %s, 'm', 'failed', 'refused', %s, '')""",
            (ids.notification, NAME, EMAIL, f"refused {NAME}"),
        )
        await run(
            """insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at,
                 updated_at, version, attempts)
               values (%s, 'ACME', 'acme', 'lead-1', 'rejected', %s, '', now(), now(), 1, 1)""",
            (ids.lead, f'{{"name":"{NAME}"}}'.encode()),
        )
        await run(
            """insert into lead_attempts (lead_id, attempt, started_at, ended_at, status, error, excerpt)
               values (%s, 1, now(), now(), 422, 'refused', %s)""",
            (ids.lead, f"no {NAME}"),
        )
        await run(
            """insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", key, value, headers, event_id)
               values (%s, 'notifications', 'unreadable', %s, 'notification.commands', 0, 0, %s, %s, '[]', %s)""",
            (ids.letter, f"of {NAME}", EMAIL.encode(), NAME.encode(), ids.notification),
        )
    return ids


async def test_no_personal_data_is_in_any_answer_to_a_reader(start_gateway: StartGateway, database_url: str) -> None:
    async with reading(start_gateway) as gateway:
        ids = await fill(gateway, database_url)
        paths = [
            "contacts/user-7", "notifications", f"notifications/{ids.notification}", "leads", f"leads/{ids.lead}", "dead-letters",
            f"dead-letters/{ids.letter}", f"dead-letters/{ids.lead}", f"events/{ids.event}", f"webhooks/deliveries/{ids.event}",
            "webhooks/deliveries",
            "find?q=user-7", "find?q=canary%40example.com",
        ]  # fmt: skip
        words = (EMAIL, PHONE, NAME, "canary-push", "Y2FuYXJ5", "Q2FuYXJ5")  # the last two are the beginnings in base64
        seen: dict[str, Any] = {}
        for path in paths:
            url = f"/internal/v1/{path}" if path.startswith("contacts") else f"/v1/admin/{path}"
            answers = [await gateway.get(url, headers) for headers in (ADMIN, READER)]
            assert [answer.status for answer in answers] == [200, 200], path
            texts = [await answer.text() for answer in answers]
            seen[path] = [[word in text for word in words] for text in texts]
        assert {path for path, (operator, _) in seen.items() if any(operator)} >= {*paths[:2], *paths[4:10]} - {"leads"}
        assert {path for path, (_, reader) in seen.items() if any(reader)} == set()


async def test_a_reader_sees_ids_and_states(start_gateway: StartGateway, database_url: str) -> None:
    async with reading(start_gateway) as gateway:
        ids = await fill(gateway, database_url)
        found = await (await gateway.get(f"/v1/admin/notifications/{ids.notification}", READER)).json()
        assert (found["id"], found["status"], found["to"], found["address"]) == (
            str(ids.notification),
            "failed",
            "(masked)",
            "(masked)",
        )
        lead = await (await gateway.get(f"/v1/admin/leads/{ids.lead}", READER)).json()
        assert (lead["externalLeadId"], lead["payload"], lead["attempts"][0]["status"]) == ("lead-1", "(masked)", 422)


async def test_readers_tokens_rotate_and_are_listed_and_recorded(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway(READ_API_TOKEN="next,reader") as gateway:
        for token in ("next", "reader"):
            assert (await gateway.get("/v1/admin/payments", {"X-Internal-Token": token})).status == 200
        listed = (await (await gateway.get("/v1/admin/secrets", READER)).json())["items"]
        mine = [each["id"] for each in listed if each["setting"] == "READ_API_TOKEN"]
        assert mine == [Secret("next").id, Secret("reader").id]
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        rows = await (await connection.execute("select distinct role, secret_id from audit_log where role = 'reader'")).fetchall()
    assert {*rows} == {("reader", Secret("next").id), ("reader", Secret("reader").id)}


@pytest.mark.parametrize("name", ["ADMIN_API_TOKEN", "INTERNAL_API_TOKEN"])
async def test_a_readers_token_equal_to_another_token_is_refused(start_gateway: StartGateway, name: str) -> None:
    with pytest.raises(SettingsError, match="READ_API_TOKEN: has a secret of"):
        async with reading(start_gateway, **{name: "reader,other"}):
            pass


async def test_without_the_setting_there_is_no_reader(gateway: Gateway) -> None:
    assert (await gateway.get("/v1/admin/payments", READER)).status == 401


async def test_readers_come_and_go_with_their_file(database_url: str, tmp_path: Path) -> None:
    tokens = {"INTERNAL_API_TOKEN": "service", "ADMIN_API_TOKEN": "operator"}
    mount = Mount(tmp_path / "secrets", **tokens)
    environ = Environ({"DATABASE_URL": database_url, "STRIPE_WEBHOOK_SECRET": "whsec_new", "SECRETS_DIR": str(mount.folder)})
    settings = GatewaySettings.load(environ)
    watch = SecretWatch([settings], environ, lambda _: None)
    seen = []
    async with (
        opened(settings) as resources,
        aiohttp.ClientSession() as client,
        listening(build_internal(settings, resources), settings) as internal,
    ):
        await resources.intake.until_ready()
        for reader in ({}, {"READ_API_TOKEN": "reader"}, {"READ_API_TOKEN": "next,reader"}, {}):
            mount.swap(**tokens, **reader)
            watch.look()
            watch.look()  # a change counts once it has settled
            async with client.get(f"{internal}/v1/admin/payments", headers=READER) as answer:
                seen.append(answer.status)
    assert seen == [401, 200, 200, 401]
