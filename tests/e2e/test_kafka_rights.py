"""A user for each process, on brokers that grant it what the table of docs/kafka.md lists, and nothing else."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

import aiohttp
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from ops.dev.processes import WORKERS
from schemas.topology import AGENTS, process_of
from tests.command import tallyhook_beside
from tests.e2e import test_alerts, test_cache, test_notifications, test_partner_lead, test_search
from tests.e2e.conftest import CACHE_PREFIX
from tests.secured import Issuer, SecuredKafka
from tests.sender import post_stripe
from tests.simulators import partner, stripe
from tests.simulators.crm import SECRET
from tests.system import ADMIN, SERVICE, System
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.servers import StartStack
    from tests.simulators.crm import Crm

PREFIX: Final = "acme."
_PAGE: Final = Path(__file__).parents[2] / "docs" / "kafka.md"
_ROWS: Final = {"relay": "relay", "gateway": "gateway", "looking": "gateway", "replay": "`tallyhook replay offsets`"} | {
    "ensure": "`tallyhook topics ensure`"
}
"""The first words of the row of each user that is no worker."""


class Rights(NamedTuple):
    """The rights in one row of the table."""

    topics: list[str]
    groups: list[str]


def listed(who: str) -> Rights:
    """Return the rights of the row that begins with this text."""
    [row] = [line for line in _PAGE.read_text().splitlines() if line.startswith(f"| {who}")]
    of_topics, of_groups = (re.findall(r"`([A-Z_]+)`", cell) for cell in row.strip("| ").split(" | ")[1:3])
    return Rights(of_topics, of_groups)


def bindings(user: str) -> list[AclBinding]:
    """Return the rights of one user: a worker's for the topics it reads, the others' for all names with the prefix."""
    if user in WORKERS:
        agent, rights, pattern = AGENTS[user], listed("worker"), ResourcePatternType.LITERAL
        names, groups = [f"{PREFIX}{topic}" for topic in agent.consumes], [f"{PREFIX}{agent.group}"]
    else:
        rights, pattern = listed(_ROWS[user]), ResourcePatternType.PREFIXED
        names, groups = [PREFIX], [f"{PREFIX}tallyhook-"]
    wanted = [(ResourceType.TOPIC, names, rights.topics), (ResourceType.GROUP, groups, rights.groups)]
    return [
        AclBinding(kind, name, pattern, f"User:{user}", "*", AclOperation[operation], AclPermissionType.ALLOW)
        for kind, resources, operations in wanted
        for name in resources
        for operation in operations
    ]


def grant(kafka: SecuredKafka, rights: Iterable[AclBinding]) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.url})
    for done in admin.create_acls(list(rights)).values():
        done.result(60)


def deny(kafka: SecuredKafka, rights: Iterable[AclBinding]) -> None:
    """Remove rights that were granted by name."""
    admin = AdminClient({"bootstrap.servers": kafka.url})
    filters = [
        AclBindingFilter(
            each.restype,
            each.name,
            each.resource_pattern_type,
            each.principal,
            each.host,
            each.operation,
            each.permission_type,
        )
        for each in rights
    ]
    for done in admin.delete_acls(filters).values():
        assert done.result(60)


@pytest.fixture(scope="module")
def kafka(servers_dir: Path) -> Iterator[SecuredKafka]:
    with Issuer() as issuer:
        server = SecuredKafka(servers_dir / "kafka-of-many-users", issuer)
        server.start()
        try:
            for user in (*WORKERS, *_ROWS):
                server.add_user(user)
                grant(server, bindings(user))
            yield server
        finally:
            server.kill()


def system_on(stack: StartStack, kafka: SecuredKafka, crm: Crm | None, workers: tuple[str, ...], *, user: str = "") -> System:
    """Run a process for each role, as the user of its name, or one for all roles, as this user."""
    settings = {"KAFKA_TOPIC_PREFIX": PREFIX, "CACHE_KEY_PREFIX": CACHE_PREFIX, "STREAMS_RETRY_MAX": "500ms"}
    if crm:
        settings |= partner.settings(crm.url, SECRET, "acme")
    environment = kafka.environment("SASL_SSL", "SCRAM-SHA-512") | settings
    servers = ("postgres", "redis", *(["elasticsearch"] if "search" in workers else []))
    system = System(stack(*servers), workers=workers, together=bool(user), kafka=kafka.url, **environment)
    of_workers = {process_of(workers): user} if user else {f"worker-{role}": role for role in workers}
    for name, login in ({"relay": "relay", "gateway": "gateway"} | of_workers).items():
        system.add_settings(name, {"KAFKA_SASL_USERNAME": login})
    return system


async def command(system: System, user: str, *words: str) -> str:
    done = await tallyhook_beside(system.settings | {"KAFKA_SASL_USERNAME": user}, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_each_process_does_its_work_with_the_rights_that_the_page_lists(
    start_stack: StartStack, kafka: SecuredKafka, http: aiohttp.ClientSession, crm: Crm
) -> None:
    system = system_on(start_stack, kafka, crm, WORKERS)
    assert "created" in await command(system, "ensure", "topics", "ensure")
    system.prepare()
    try:
        system.start()
        await asyncio.gather(
            pay_and_be_mailed(system, http),
            invalidate(system, http),
            index(system, http),
            lead(system, http, crm),
            test_alerts.test_a_flood_of_wrong_signatures_is_mailed_to_the_operators_once(system, http),
        )
        async with http.get(f"{system.internal}/v1/admin/topology", headers=ADMIN) as answer:
            assert (await answer.json())["kafka"] == {"live": True, "prefix": PREFIX}
        await command(system, "looking", "topology")
        seen = await tallyhook_beside(system.settings | {"KAFKA_SASL_USERNAME": "looking"}, "doctor")
        assert "does not report" not in seen.stdout, seen.stdout
        assert "lacks the right" not in seen.stdout, seen.stdout
    finally:
        system.stop()
    await command(system, "replay", "replay", "offsets", "--worker", "cache", "--topic", "cache.commands", "--from-start")


async def test_a_right_that_is_missing_is_named_and_waited_for_and_nothing_ends(
    start_stack: StartStack, kafka: SecuredKafka, http: aiohttp.ClientSession
) -> None:
    system = system_on(start_stack, kafka, None, ("cache", "alerts"), user="cache")
    system.prepare()
    reads = {each.restype: each for each in bindings("cache") if each.operation == AclOperation.READ}
    shown = [each for each in bindings("cache") if each.restype == ResourceType.TOPIC]
    topic, group = reads[ResourceType.TOPIC], reads[ResourceType.GROUP]
    worker = process_of(("cache", "alerts"))

    def named(process: str, right: AclBinding, times: int = 1) -> bool:
        words = f"this user lacks the right {right.operation.name} on the {right.restype.name.lower()} {right.name}"
        return bool(system.states) and system.log_of(process).count(words) >= times

    async def states() -> dict[str, dict[str, Any]]:
        """Return the state of each role; the user has the rights of the cache worker only, so the alerts role keeps waiting."""

        async def answered() -> dict[str, dict[str, Any]] | None:
            try:
                async with http.get(f"{system.process(worker).web}/health/ready") as answer:
                    assert answer.status == 503
                    found: dict[str, dict[str, Any]] = (await answer.json())["workers"]
            except aiohttp.ClientConnectorError:  # it logs what it lacks before it listens
                return None
            return found

        return await eventually(answered)

    async def one_works_and_the_other_waits() -> bool | None:
        cache, alerts = (await states()).values()
        return (cache["ready"] and alerts.get("reason") == "kafka_right_missing") or None

    deny(kafka, shown)  # at its start it may not even see the topic
    try:
        await asyncio.to_thread(system.begin)
        await asyncio.to_thread(wait_until, lambda: named(worker, topic))
        cache = (await states())["cache"]
        assert (cache["reason"], topic.name in cache["detail"]) == ("kafka_right_missing", True)
        await asyncio.to_thread(system.wait_ready, "gateway", "relay")
        pids = {each.name: each.pid for each in system.states}
        grant(kafka, shown)
        await eventually(one_works_and_the_other_waits)
        await invalidate(system, http)
        for right, before in ((group, 0), (topic, system.log_of(worker).count(topic.name))):
            deny(kafka, [right])
            await asyncio.to_thread(wait_until, lambda right=right, before=before: named(worker, right, before + 1))
            assert (await states())["cache"]["reason"] == "kafka_right_missing"
            grant(kafka, [right])
            await eventually(one_works_and_the_other_waits)
            await invalidate(system, http)
        forbidden = AclBinding(
            ResourceType.TOPIC,
            topic.name,
            ResourcePatternType.LITERAL,
            "User:relay",
            "*",
            AclOperation.WRITE,
            AclPermissionType.DENY,
        )
        grant(kafka, [forbidden])
        waits = asyncio.create_task(invalidate(system, http))
        await asyncio.to_thread(wait_until, lambda: named("relay", forbidden))
        payment = stripe.Payment()
        assert (await post_stripe(http, system.public, payment.succeeded(int(time.time())))).status == 200
        await asyncio.to_thread(wait_until, lambda: system.count("outbox_pending") == 1)  # the other checks pass
        deny(kafka, [forbidden])
        await waits
        assert {each.name: each.pid for each in system.states} == pids
        assert system.count("outbox_pending where parked_at is not null") == 0
        assert all("Traceback" not in system.log_of(name) for name in pids)
    finally:
        await asyncio.to_thread(system.stop)


async def pay_and_be_mailed(system: System, http: aiohttp.ClientSession) -> None:
    user = stripe.random_id("u")
    await test_notifications.know(http, system, user, email=f"{user}@example.com")
    payment = stripe.Payment(metadata={"user_id": user})
    assert (await post_stripe(http, system.public, payment.succeeded(int(time.time())))).status == 200
    [mail] = await test_notifications.arrived(http, system, f"{user}@example.com")
    assert payment.id in mail["text"]


async def invalidate(system: System, http: aiohttp.ClientSession) -> None:
    """Send a command and wait for its task; with a slow worker the gateway answers before the task is done."""
    status, task = await test_cache.invalidate(http, system, keys=["never"])

    async def done() -> bool | None:
        async with http.get(f"{system.internal}/internal/v1/tasks/{task['taskId']}", headers=SERVICE) as answer:
            return (await answer.json())["status"] == "done" or None

    if status == 202:
        await eventually(done)
    else:
        assert (status, task) == (200, {"invalidated": 0})


async def index(system: System, http: aiohttp.ClientSession) -> None:
    await test_search.index(http, system, id=f"p-{uuid4()}", op="upsert", doc={"title": "Wohnung", "rooms": 3})


async def lead(system: System, http: aiohttp.ClientSession, crm: Crm) -> None:
    answer = await test_partner_lead.send(
        http, system, "acme", partner.lead(f"crm-{uuid4()}", "acme", name="Ada", phone="+49 30 1")
    )
    lead_id = (await answer.json())["id"]
    await test_partner_lead.lead_with(http, system, lead_id, "delivered")
    assert crm.ids("/acme").count(lead_id) == 1
