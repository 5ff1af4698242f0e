"""The password of Kafka is changed under load. Brokers store one password per user, so for a while no client can log in."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType

from runtime.secret_watch import ids_of
from tests.mounts import Mount
from tests.secured import USER, Issuer, SecuredKafka
from tests.sender import post_stripe
from tests.simulators import stripe
from tests.system import ADMIN, System
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import StartStack

PASSWORD: Final = "KAFKA_SASL_PASSWORD"
AFTER: Final = "after-the-rotation"
PROCESSES: Final = ("gateway", "relay", "worker-payments")


@pytest.fixture
def kafka(servers_dir: Path) -> Iterator[SecuredKafka]:
    with Issuer() as issuer:
        server = SecuredKafka(servers_dir / "rotated-kafka", issuer)
        try:
            server.start()
            grant_everything(server)
            yield server
        finally:
            server.kill()


def grant_everything(server: SecuredKafka) -> None:
    """Grant all rights: other tests are about rights, this one about passwords."""
    admin = AdminClient({"bootstrap.servers": server.url})
    rights = [
        AclBinding(kind, "*", ResourcePatternType.LITERAL, f"User:{USER}", "*", AclOperation.ALL, AclPermissionType.ALLOW)
        for kind in (ResourceType.TOPIC, ResourceType.GROUP)
    ]
    for done in admin.create_acls(rights).values():
        done.result(20)


class Payments:
    """Sends one payment after the other until it is ended; `refusals` should stay empty."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.taken = list[str]()
        self.refusals = list[int]()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        async with aiohttp.ClientSession() as http:
            while not self._ended.is_set():
                payment = stripe.Payment()
                answer = await post_stripe(http, self._system.public, payment.succeeded(int(time.time())))
                (self.taken.append(payment.id) if answer.status == 200 else self.refusals.append(answer.status))
                await asyncio.wait({asyncio.ensure_future(self._ended.wait())}, timeout=0.05)

    def end(self) -> None:
        self._ended.set()

    async def some_more(self) -> None:
        wanted = len(self.taken) + 10

        async def are_taken() -> bool | None:
            return len(self.taken) >= wanted or None

        await eventually(are_taken)

    async def have_their_effect(self) -> None:
        """Return once each event accepted so far is a stored payment."""
        wanted = [*self.taken]

        async def all_there() -> bool | None:
            there = self._system.count("payments where status = 'succeeded' and id = any(%s)", wanted)
            return there == len(wanted) or None

        await eventually(all_there)


async def is_taken_everywhere(system: System, http: aiohttp.ClientSession) -> None:
    """Return once each process has the new password, by the audit log and `changes`."""

    async def all_have_it() -> bool | None:
        async with http.get(f"{system.internal}/v1/admin/secrets", headers=ADMIN) as answer:
            text = await answer.text()
        assert AFTER not in text
        taken = {each["process"].partition(" ")[0] for each in json.loads(text)["changes"] if each["outcome"] == "taken"}
        assert all((each["setting"], tuple(each["ids"])) == (PASSWORD, ids_of(AFTER)) for each in json.loads(text)["changes"])
        return taken == {*PROCESSES} or None

    await eventually(all_have_it)


@pytest.mark.timeout(400)
async def test_the_password_of_kafka_is_changed_under_load_and_nothing_is_lost(
    own_stack: StartStack, kafka: SecuredKafka, tmp_path: Path
) -> None:
    environment = kafka.environment("SASL_PLAINTEXT", "SCRAM-SHA-512")
    mount = Mount(tmp_path / "secrets", **{PASSWORD: environment.pop(PASSWORD)})
    settings = environment | {"SECRETS_DIR": str(mount.folder), "STREAMS_RETRY_MAX": "500ms", "STREAMS_SESSION_TIMEOUT": "6s"}
    system = System(own_stack("postgres"), workers=("payments",), kafka=kafka.url, **settings)
    system.prepare()
    try:
        system.start()
        pids = {name: system.process(name).pid for name in PROCESSES}
        load = Payments(system)
        calling = asyncio.create_task(load.run())
        await load.some_more()
        await load.have_their_effect()
        # The brokers store only the new one, and end every connection: clients with the old one are refused.
        kafka.password = AFTER
        await asyncio.to_thread(kafka.kill)
        await asyncio.to_thread(kafka.start)
        await asyncio.to_thread(wait_until, lambda: "refuse these credentials" in system.log_of("relay"))
        await load.some_more()
        mount.swap(**{PASSWORD: AFTER})
        async with aiohttp.ClientSession() as http:
            await is_taken_everywhere(system, http)
        await load.some_more()
        load.end()
        await calling
        await load.have_their_effect()
        assert load.refusals == []
        assert {name: system.process(name).pid for name in PROCESSES} == pids
        assert system.count("payments") == len(load.taken)
    finally:
        system.stop()
