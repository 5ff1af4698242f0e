"""Kafka's settings: settings that need each other are required together, and no setting is ignored silently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from runtime.kafka import KafkaSettings
from runtime.redaction import Redaction
from runtime.settings import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

SERVERS: Final = {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}
USER: Final = {"KAFKA_SASL_USERNAME": "tallyhook", "KAFKA_SASL_PASSWORD": "quite-a-password"}
SCRAM: Final = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", **USER}
OAUTH: Final = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
    "KAFKA_OAUTH_TOKEN_URL": "https://login.example.com/token",
    "KAFKA_OAUTH_CLIENT_ID": "tallyhook",
    "KAFKA_OAUTH_CLIENT_SECRET": "quite-a-secret",
}


def problems_of(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        KafkaSettings.load(SERVERS | environ)
    return refused.value.problems


def without(given: dict[str, str], name: str) -> dict[str, str]:
    return {each: text for each, text in given.items() if each != name}


def test_an_open_cluster_needs_nothing_else() -> None:
    client = KafkaSettings.load(SERVERS).kafka.client
    assert client == {"bootstrap.servers": "kafka:9092", "security.protocol": "plaintext"}


@pytest.mark.parametrize("name", ["KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"])
def test_sasl_by_name_needs_all_of_its_parts(name: str) -> None:
    [problem] = [each for each in problems_of(**without(SCRAM, name)) if "required" in each]
    assert problem.startswith(f"{name}: is required, because KAFKA_SECURITY_PROTOCOL is SASL_SSL")


@pytest.mark.parametrize("name", ["KAFKA_OAUTH_TOKEN_URL", "KAFKA_OAUTH_CLIENT_ID", "KAFKA_OAUTH_CLIENT_SECRET"])
def test_sasl_by_token_needs_all_of_its_parts(name: str) -> None:
    [problem] = problems_of(**without(OAUTH, name))
    assert problem.startswith(f"{name}: is required")


@pytest.mark.parametrize(
    ("given", "idle"),
    [
        (USER, {*USER}),
        ({"KAFKA_SASL_MECHANISM": "PLAIN"}, {"KAFKA_SASL_MECHANISM"}),
        (SCRAM | {"KAFKA_OAUTH_SCOPE": "kafka"}, {"KAFKA_OAUTH_SCOPE"}),
        (OAUTH | USER, {*USER}),
        (SCRAM | {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SSL_CA": __file__}, {"KAFKA_SSL_CA"}),
        (SCRAM | {"KAFKA_SECURITY_PROTOCOL": "SSL"}, {"KAFKA_SASL_MECHANISM", *USER}),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(given: dict[str, str], idle: set[str]) -> None:
    found = problems_of(**given)
    assert {each.partition(":")[0] for each in found} == idle
    assert all("has no use" in each for each in found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
        ("KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("KAFKA_OAUTH_TOKEN_URL", "login.example.com"),
    ],
)
def test_a_value_of_no_meaning_is_named(name: str, text: str) -> None:
    given = OAUTH if "OAUTH" in name else SCRAM
    assert [each.partition(":")[0] for each in problems_of(**given | {name: text})] == [name]


def test_tls_files_are_looked_at(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    pair = authority.issue_cert("client.example.com")
    ca, cert, key, odd = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem", "odd.pem"))
    authority.cert_pem.write_to_path(ca)
    pair.cert_chain_pems[0].write_to_path(cert)
    pair.private_key_pem.write_to_path(key)
    other.issue_cert("client.example.com").private_key_pem.write_to_path(odd)
    good = {"KAFKA_SECURITY_PROTOCOL": "SSL"} | dict(
        zip(("KAFKA_SSL_CA", "KAFKA_SSL_CERT", "KAFKA_SSL_KEY"), map(str, (ca, cert, key)), strict=True)
    )
    assert KafkaSettings.load(SERVERS | good).kafka.client["ssl.ca.location"] == str(ca)
    assert problems_of(**without(good, "KAFKA_SSL_KEY")) == ["KAFKA_SSL_KEY: is required, because KAFKA_SSL_CERT is set"]
    assert problems_of(**without(good, "KAFKA_SSL_CERT")) == ["KAFKA_SSL_CERT: is required, because KAFKA_SSL_KEY is set"]
    for name, file in {"KAFKA_SSL_KEY": odd, "KAFKA_SSL_CA": key, "KAFKA_SSL_CERT": tmp_path}.items():
        found = problems_of(**good | {name: str(file)})
        assert {each.partition(":")[0] for each in found} <= {name, "KAFKA_SSL_CERT"}
    gone = problems_of(**good | {"KAFKA_SSL_CA": str(tmp_path / "gone.pem")})
    assert gone == ["KAFKA_SSL_CA: this file cannot be read: No such file or directory"]
    folder = problems_of(**good | {"KAFKA_SSL_CA": str(tmp_path)})
    assert folder == ["KAFKA_SSL_CA: this file cannot be read: Is a directory"]


def test_the_password_of_a_key_is_checked_as_it_is_used(tmp_path: Path) -> None:
    pair = trustme.CA().issue_cert("client.example.com")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    pair.cert_chain_pems[0].write_to_path(cert)
    locked = BestAvailableEncryption(b"pw")
    unlocked = load_pem_private_key(pair.private_key_pem.bytes(), None)
    key.write_bytes(unlocked.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    tls = {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERT": str(cert), "KAFKA_SSL_KEY": str(key)}
    client = KafkaSettings.load(SERVERS | tls | {"KAFKA_SSL_KEY_PASSWORD": "pw "}).kafka.client
    assert client["ssl.key.password"] == "pw"
    [problem] = problems_of(**tls | {"KAFKA_SSL_KEY_PASSWORD": "other"})
    assert problem.startswith("KAFKA_SSL_CERT: is not a usable certificate")


def test_secrets_show_nowhere() -> None:
    settings = KafkaSettings.load(SERVERS | SCRAM)
    assert "quite-a-password" not in f"{settings!r} {settings.kafka!r}"
    assert settings.kafka.client["sasl.password"] == "quite-a-password"
    assert Redaction.of(SCRAM).apply("it is quite-a-password") == "it is ***"
    assert Redaction.of(OAUTH).apply("it is quite-a-secret") == "it is ***"


def test_a_token_is_fetched_by_librdkafka_itself() -> None:
    client = KafkaSettings.load(SERVERS | OAUTH | {"KAFKA_OAUTH_SCOPE": "kafka"}).kafka.client
    assert client["sasl.oauthbearer.method"] == "oidc"
    assert client["sasl.oauthbearer.scope"] == "kafka"
    assert "sasl.username" not in client
