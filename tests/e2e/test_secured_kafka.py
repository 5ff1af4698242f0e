"""The system on brokers with TLS and passwords that grant only the rights of docs/kafka.md, on names with a prefix."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.secured import USER, Issuer, SecuredKafka
from tests.sender import post_stripe
from tests.simulators import stripe
from tests.system import ADMIN, System
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import aiohttp

    from tests.servers import StartStack

PREFIX: Final = "acme."
RIGHTS: Final = {
    ResourceType.TOPIC: (PREFIX, ResourcePatternType.PREFIXED, (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE)),
    ResourceType.GROUP: (f"{PREFIX}tallyhook-", ResourcePatternType.PREFIXED, (AclOperation.READ, AclOperation.DESCRIBE)),
}


@pytest.fixture(scope="module")
def kafka(servers_dir: Path) -> Iterator[SecuredKafka]:
    with Issuer() as issuer:
        server = SecuredKafka(servers_dir / "secured", issuer)
        server.start()
        grant(AdminClient({"bootstrap.servers": server.url}))
        yield server
        server.kill()


def grant(admin: AdminClient) -> None:
    rights = [
        AclBinding(kind, name, pattern, f"User:{USER}", "*", operation, AclPermissionType.ALLOW)
        for kind, (name, pattern, operations) in RIGHTS.items()
        for operation in operations
    ]
    for done in admin.create_acls(rights).values():
        done.result(20)


def system_on(stack: StartStack, kafka: SecuredKafka, **settings: str) -> System:
    environment = kafka.environment("SASL_SSL", "SCRAM-SHA-512") | {"KAFKA_TOPIC_PREFIX": PREFIX} | settings
    return System(stack("postgres", "redis"), workers=("payments",), kafka=kafka.url, **environment)


async def test_a_payment_goes_all_the_way_with_no_right_too_many(
    start_stack: StartStack, kafka: SecuredKafka, http: aiohttp.ClientSession
) -> None:
    system = system_on(start_stack, kafka)
    system.prepare()
    try:
        system.start()
        payment = stripe.Payment()
        assert (await post_stripe(http, system.public, payment.succeeded(int(time.time())))).status == 200

        async def is_there() -> bool | None:
            async with http.get(f"{system.internal}/v1/admin/payments/{payment.id}", headers=ADMIN) as answer:
                return answer.status == 200 or None

        await eventually(is_there)
        async with http.get(f"{system.internal}/v1/admin/topology", headers=ADMIN) as answer:
            assert answer.status == 200, await answer.text()
            assert (await answer.json())["kafka"] == {"live": True, "prefix": PREFIX}
    finally:
        system.stop()


async def test_with_a_wrong_password_processes_wait_and_report_it(
    start_stack: StartStack, kafka: SecuredKafka, http: aiohttp.ClientSession
) -> None:
    system = system_on(start_stack, kafka, KAFKA_SASL_PASSWORD="not-the-password", STREAMS_RETRY_MAX="500ms")
    system.prepare()
    try:
        system.begin()
        wait_until(lambda: system.states and "worker_waiting" in system.log_of("worker-payments"), seconds=60)
        pid = system.process("worker-payments").pid
        wait_until(lambda: system.log_of("worker-payments").count("worker_waiting") > 3, seconds=60)
        assert system.process("worker-payments").pid == pid
        assert "the brokers refuse these credentials" in system.log_of("worker-payments")
        system.wait_ready("gateway")
        assert (await post_stripe(http, system.public, stripe.Payment().succeeded(int(time.time())))).status == 200
        assert all("not-the-password" not in system.log_of(state.name) for state in system.states)
    finally:
        system.stop()
