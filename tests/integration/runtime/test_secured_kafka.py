"""Brokers that speak TLS and ask for credentials: every way in, for both of our clients, and the words for a wrong one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin import AdminClient
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from ops.doctor.kafka import check_kafka
from outbox.errors import BrokerError
from outbox.offsets import Offsets
from runtime import renewal
from runtime.kafka import KafkaSettings
from streams.credentials import credentials_of
from streams.login import Client
from tests.secured import USER, Issuer, SecuredKafka

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
    """Whether aiokafka gets in as Faust starts it."""
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
def test_what_is_wrong_is_told_in_words(kafka: SecuredKafka, case: str) -> None:
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
