"""Explains why Kafka cannot be used: librdkafka reports the cause to a callback, and the call itself merely times out."""

import re
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from runtime import handshakes
from runtime.kafka import Cluster


class Fault(NamedTuple):
    """The fault of a connection, and the settings to correct."""

    text: str
    settings: str


_CREDENTIALS: Final = Fault(
    "the brokers refuse these credentials", "KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
)
_TOKEN: Final = Fault(
    "the token endpoint gives no token", "KAFKA_OAUTH_TOKEN_URL, KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET"
)
_UNTRUSTED: Final = Fault(
    "the brokers' certificate is not trusted, has expired or is not theirs", "KAFKA_SSL_CA and KAFKA_BOOTSTRAP_SERVERS"
)
_UNKNOWN: Final = Fault("the brokers do not accept our certificate, or require one", "KAFKA_SSL_CERT and KAFKA_SSL_KEY")
_NO_TLS: Final = Fault("this listener does not use TLS", "KAFKA_SECURITY_PROTOCOL and the port in KAFKA_BOOTSTRAP_SERVERS")
_NO_HOST: Final = Fault("the host name has no address", "KAFKA_BOOTSTRAP_SERVERS")
_REFUSED: Final = Fault("nothing listens there", "KAFKA_BOOTSTRAP_SERVERS")
_NO_ANSWER: Final = Fault(
    "the listener closes the connection or does not answer, as if it expects TLS or SASL", "KAFKA_SECURITY_PROTOCOL"
)

# OpenSSL's messages (https://github.com/openssl/openssl/blob/master/crypto/err/openssl.txt), as librdkafka passes them on.
_PATTERNS: Final = (
    (re.compile(r"OAUTHBEARER token"), _TOKEN),
    (re.compile(r"SASL authentication error|Authentication failed|SASL handshake|mechanism", re.IGNORECASE), _CREDENTIALS),
    (re.compile(r"certificate verify failed|hostname mismatch", re.IGNORECASE), _UNTRUSTED),
    (re.compile(r"alert (?:bad certificate|certificate|unknown ca|handshake)", re.IGNORECASE), _UNKNOWN),
    (re.compile(r"wrong version number|connecting to a PLAINTEXT broker listener", re.IGNORECASE), _NO_TLS),
    (re.compile(r"Failed to resolve"), _NO_HOST),
    (re.compile(r"Connection refused"), _REFUSED),
)


def fault_of_text(text: str) -> Fault | None:
    """Return the fault that this message of librdkafka explains."""
    return next((fault for pattern, fault in _PATTERNS if pattern.search(text)), None)


def with_certificate_cause(kafka: Cluster, fault: Fault) -> Fault:
    """Return the fault with the cause that the certificates show: librdkafka does not report that one has expired."""
    why: str | None = None
    if fault is _UNTRUSTED and kafka.tls:
        why = handshakes.fault_of(handshakes.servers_of_kafka(kafka.servers), kafka.tls.ca)
    elif fault is _UNKNOWN and kafka.tls and kafka.tls.cert:
        from runtime.certificates import expiry_of  # noqa: PLC0415  # slow to import, and rarely needed

        until = expiry_of(kafka.tls.cert)
        why = "ours has expired" if until and until <= datetime.now(UTC) else None
    return fault._replace(text=f"{fault.text}: {why}") if why else fault


class Faults:
    """Receives the errors that a client of librdkafka reports, and keeps the last fault that one of them explains."""

    def __init__(self) -> None:
        self.last: Fault | None = None

    def client(self, kafka: Cluster) -> dict[str, Any]:
        """Return the settings for a client of this cluster that reports its errors here, and prints nothing."""
        return kafka.client | {"log_level": 0, "error_cb": self.take}

    def take(self, error: KafkaError) -> None:
        """Keep the fault that the error explains, if it explains one."""
        self.last = fault_of_text(error.str()) or self.last

    def describe(self, kafka: Cluster, client: AdminClient, error: KafkaException) -> str:
        """Return one sentence about an error of a client that cannot reach the brokers."""
        text, settings = self.explain(kafka, client)
        return f"Kafka does not answer at {kafka.servers}: {text} ({error.args[0].str()}); see {settings}"

    def explain(self, kafka: Cluster, client: AdminClient) -> Fault:
        """Return the last fault that the client reported; without one, the listener probably expects another protocol."""
        client.poll(0)  # a client calls `error_cb` only from within `poll`
        return with_certificate_cause(kafka, self.last or _NO_ANSWER)
