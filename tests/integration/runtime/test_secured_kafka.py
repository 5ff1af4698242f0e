"""Brokers with TLS and credentials: every login method, for both of our clients, and the message for a wrong one."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but for its stubs
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from structlog.testing import capture_logs

from ops.doctor.certificates import check_certificates
from ops.doctor.kafka import check_kafka
from ops.stack.authority import Authority
from outbox import topics
from outbox.errors import BrokerError
from outbox.offsets import Offsets
from outbox.publisher import Publisher
from runtime import renewal
from runtime.kafka import Cluster, KafkaSettings
from schemas.topics import TOPICS
from schemas.topology import AGENTS
from streams.client import Client
from streams.credentials import credentials_of
from tests.secured import USER, Issuer, SecuredKafka, tls_listener
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BY_NAME: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
WAYS: Final = [
    *((protocol, way) for protocol in ("SASL_SSL", "SASL_PLAINTEXT") for way in (*BY_NAME, "OAUTHBEARER")),
    ("SSL", ""),
]


@pytest.fixture(scope="module")
def kafka(servers_dir: Path) -> Iterator[SecuredKafka]:
    with Issuer() as issuer:
        server = SecuredKafka(servers_dir / "secured-kafka", issuer)
        server.start()
        yield server
        server.kill()


async def joins(settings: KafkaSettings) -> bool:
    """Report whether aiokafka can connect as Faust starts it."""
    found = credentials_to_aiokafka_auth(credentials_of(settings.kafka))
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka.servers, **found)
    try:
        await consumer.start()
        return bool(await consumer.topics() is not None)
    finally:
        await consumer.stop()


@pytest.mark.parametrize(("protocol", "mechanism"), WAYS)
async def test_both_clients_get_in(kafka: SecuredKafka, protocol: str, mechanism: str) -> None:
    settings = KafkaSettings.load(kafka.environment(protocol, mechanism))
    known = await asyncio.to_thread(AdminClient(settings.kafka.client).list_topics, timeout=20)
    assert known.brokers
    assert await joins(settings)


async def test_a_token_serves_several_connections(kafka: SecuredKafka) -> None:
    credentials = credentials_of(KafkaSettings.load(kafka.environment("SASL_SSL", "OAUTHBEARER")).kafka)
    before = kafka.issuer.granted
    tokens = await asyncio.gather(*(credentials.oauth_cb.token() for _ in range(5)))
    assert len({*tokens}) == 1
    assert kafka.issuer.granted == before + 1


WRONG: Final = {
    "password": ("SASL_SSL", "PLAIN", {"KAFKA_SASL_PASSWORD": "wrong"}, "refuse these credentials", "KAFKA_SASL_PASSWORD"),
    "scram": ("SASL_SSL", "SCRAM-SHA-512", {"KAFKA_SASL_PASSWORD": "wrong"}, "refuse these credentials", "KAFKA_SASL_PASSWORD"),
    "user": ("SASL_PLAINTEXT", "SCRAM-SHA-256", {"KAFKA_SASL_USERNAME": "other"}, "refuse these credentials", "USERNAME"),
    "client": (
        "SASL_SSL",
        "OAUTHBEARER",
        {"KAFKA_OAUTH_CLIENT_SECRET": "wrong"},
        "the token endpoint gives no token",
        "KAFKA_OAUTH_CLIENT_SECRET",
    ),
    "authority": ("SASL_SSL", "PLAIN", {"KAFKA_SSL_CA": ""}, "is not trusted", "KAFKA_SSL_CA"),
    "certificate": ("SSL", "", {"KAFKA_SSL_CERT": "", "KAFKA_SSL_KEY": ""}, "do not accept our certificate", "KAFKA_SSL_CERT"),
    "protocol": ("PLAINTEXT", "", {}, "expects TLS or SASL", "KAFKA_SECURITY_PROTOCOL"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_fault_is_reported_in_plain_words(kafka: SecuredKafka, case: str) -> None:
    protocol, mechanism, change, words, setting = WRONG[case]
    environ = {name: text for name, text in (kafka.environment(protocol, mechanism) | change).items() if text}
    [finding] = check_kafka(environ)
    assert words in finding.text
    assert setting in finding.act
    with pytest.raises(BrokerError, match=words) as refused:
        Offsets(KafkaSettings.load(environ).kafka, timedelta(seconds=3)).look(["webhooks.stripe"], ())
    assert refused.value.reason == "kafka_unavailable"
    assert kafka.password not in f"{finding} {refused.value}"
    assert "wrong" not in f"{finding} {refused.value}".replace("what is wrong", "")


def test_a_right_that_is_missing_is_a_refusal(kafka: SecuredKafka) -> None:
    offsets = Offsets(KafkaSettings.load(kafka.environment("SASL_SSL", "PLAIN")).kafka)
    with pytest.raises(BrokerError) as refused:
        offsets.look((), ["somebody-elses"])
    assert refused.value.reason == "kafka_refused"
    assert "the group somebody-elses" in str(refused.value)
    assert USER not in str(refused.value)


async def test_new_connections_log_in_with_the_password_of_now(kafka: SecuredKafka) -> None:
    settings = KafkaSettings.load(kafka.environment("SASL_PLAINTEXT", "SCRAM-SHA-256"))
    offsets = Offsets(settings.kafka)
    offsets.look(["webhooks.stripe"], ())
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.servers, **credentials_to_aiokafka_auth(credentials_of(settings.kafka))
    )
    await consumer.start()
    consumer._client.__class__ = Client
    changed = kafka.password + "-changed"
    await asyncio.to_thread(kafka.change_password, changed)
    renewal.renew(kafka.password, changed)
    try:
        for connection in [*consumer._client._conns.values()]:
            connection.close()
        assert await consumer.topics() is not None
        for fresh in (offsets, Offsets(settings.kafka)):
            fresh.look(["webhooks.stripe"], ())
    finally:
        await consumer.stop()
        await asyncio.to_thread(kafka.change_password, kafka.password)
        renewal.renew(changed, kafka.password)


Right = tuple[ResourceType, str, AclOperation]
ALL: Final[list[Right]] = [
    *((ResourceType.TOPIC, str(topic), right) for topic in TOPICS for right in (AclOperation.READ, AclOperation.WRITE)),
    *((ResourceType.TOPIC, str(topic), AclOperation.DESCRIBE_CONFIGS) for topic in TOPICS),
    *((ResourceType.GROUP, agent.group, AclOperation.READ) for agent in AGENTS.values() if agent.group),
]


@contextmanager
def granted(kafka: SecuredKafka, rights: list[Right]) -> Iterator[dict[str, str]]:
    """The settings of the user while it has these rights and no others."""
    admin = AdminClient({"bootstrap.servers": kafka.url})
    topics.ensure(Cluster(kafka.url))
    made = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", operation, AclPermissionType.ALLOW)
        for kind, name, operation in rights
    ]
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{USER}", None, AclOperation.ANY, AclPermissionType.ANY
    )

    def in_force() -> int:
        return len(admin.describe_acls(everything).result(20))

    for done in admin.create_acls(made).values():
        done.result(20)
    try:
        wait_until(lambda: in_force() == len(rights))  # a broker gets them after the controller has answered
        yield kafka.environment("SASL_PLAINTEXT", "SCRAM-SHA-256")
    finally:
        for done in admin.delete_acls([everything]).values():
            done.result(20)
        wait_until(lambda: in_force() == 0)


@pytest.mark.parametrize(
    ("right", "level", "words"),
    [
        (
            (ResourceType.TOPIC, "webhooks.stripe", AclOperation.READ),
            "fail",
            "lacks the right READ on the topic webhooks.stripe",
        ),
        (
            (ResourceType.TOPIC, "webhooks.stripe", AclOperation.WRITE),
            "fail",
            "lacks the right WRITE on the topic webhooks.stripe",
        ),
        (
            (ResourceType.GROUP, "tallyhook-payments", AclOperation.READ),
            "fail",
            "lacks the right READ on the group tallyhook-payments",
        ),
    ],
)
def test_the_doctor_names_the_missing_right_and_its_resource(kafka: SecuredKafka, right: Right, level: str, words: str) -> None:
    with granted(kafka, ALL) as environ:  # the coordinator of the first group needs some time
        wait_until(lambda: any("may read and write every topic" in each.text for each in check_kafka(environ)))
        assert [each for each in check_kafka(environ) if "lacks the right" in each.text] == []
    with granted(kafka, [each for each in ALL if each != right]) as environ:
        wait_until(lambda: (level, True) in {(each.level, words in each.text) for each in check_kafka(environ)})


def test_the_doctor_names_topics_that_the_user_may_not_even_see(kafka: SecuredKafka) -> None:
    hidden = [each for each in ALL if each[1] != "webhooks.stripe"]
    with granted(kafka, hidden) as environ:
        found = [each.text for each in check_kafka(environ) if each.level == "fail"]
    assert "this user lacks the right DESCRIBE on the topic webhooks.stripe" in found
    assert [text for text in found if "missing" in text] == []


def test_the_missing_rights_of_a_read_only_user_are_reported(kafka: SecuredKafka) -> None:
    looking = [(kind, name, AclOperation.DESCRIBE) for kind, name, operation in ALL if operation == AclOperation.READ]
    with granted(kafka, looking) as environ:
        found = [each for each in check_kafka(environ) if each.text.startswith("this user may")]
    assert {each.level for each in found} == {"warn"}
    assert [each.text.removeprefix("this user may ") for each in found] == ["WRITE no topic", "READ no topic", "READ no group"]


def logged_by_the_relay(kafka: Cluster) -> str:
    """Return the first fault of these brokers that the relay logs."""
    with capture_logs() as lines:
        publisher = Publisher(kafka)
        wait_until(lambda: [publisher._poll(0.1), lines][1])
        publisher.close()
    return str(lines[0]["fault"])


def test_brokers_whose_certificate_has_expired_are_named_with_the_day(kafka: SecuredKafka, tmp_path: Path) -> None:
    day = datetime.now(UTC) - timedelta(days=1)
    old = Authority(tmp_path / "old", expires=day)
    with tls_listener("tls", int(kafka.sasl.rpartition(":")[2]), old) as port:
        environ = kafka.environment("SASL_SSL", "PLAIN") | {
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
            "KAFKA_SSL_CA": str(old.ca),
        }
        [refused] = check_kafka(environ)
        [expired] = check_certificates(environ)
        relay = logged_by_the_relay(KafkaSettings.load(environ).kafka)
        with pytest.raises(BrokerError) as worker:
            Offsets(KafkaSettings.load(environ).kafka, timedelta(seconds=5)).look(["webhooks.stripe"], ())
    for line in (refused.text, relay, str(worker.value)):
        assert "is not trusted, has expired or is not theirs: certificate has expired" in line
    assert (expired.level, expired.text) == (
        "fail",
        f"Kafka at 127.0.0.1:{port}: the certificate has expired, on {day:%Y-%m-%d %H:%M} UTC",
    )
