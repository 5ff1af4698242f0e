"""Why Kafka cannot be used, in words: librdkafka reports that beside the call, which then merely times out."""

import re
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from runtime import handshakes
from runtime.kafka import Cluster


class Fault(NamedTuple):
    """The fault of a connection, and the settings that mend it."""

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
_UNKNOWN: Final = Fault("the brokers do not accept our certificate, or miss it", "KAFKA_SSL_CERT and KAFKA_SSL_KEY")
_NO_TLS: Final = Fault("this listener does not speak TLS", "KAFKA_SECURITY_PROTOCOL and the port in KAFKA_BOOTSTRAP_SERVERS")
_NO_HOST: Final = Fault("the host name has no address", "KAFKA_BOOTSTRAP_SERVERS")
_REFUSED: Final = Fault("nothing listens there", "KAFKA_BOOTSTRAP_SERVERS")
_MUTE: Final = Fault(
    "the listener closes the connection or is silent, as one does that expects TLS or SASL", "KAFKA_SECURITY_PROTOCOL"
)

# In OpenSSL's words (https://github.com/openssl/openssl/blob/master/crypto/err/openssl.txt), as librdkafka passes them on.
_SIGNS: Final = (
    (re.compile(r"OAUTHBEARER token"), _TOKEN),
    (re.compile(r"SASL authentication error|Authentication failed|SASL handshake|mechanism", re.IGNORECASE), _CREDENTIALS),
    (re.compile(r"certificate verify failed|hostname mismatch", re.IGNORECASE), _UNTRUSTED),
    (re.compile(r"alert (?:bad certificate|certificate|unknown ca|handshake)", re.IGNORECASE), _UNKNOWN),
    (re.compile(r"wrong version number|connecting to a PLAINTEXT broker listener", re.IGNORECASE), _NO_TLS),
    (re.compile(r"Failed to resolve"), _NO_HOST),
    (re.compile(r"Connection refused"), _REFUSED),
)


def fault_of_text(text: str) -> Fault | None:
    """The fault that librdkafka's words explain."""
    return next((fault for sign, fault in _SIGNS if sign.search(text)), None)


def in_full(kafka: Cluster, fault: Fault) -> Fault:
    """The fault with what a look at the certificates says: librdkafka does not tell whether one has expired."""
    why: str | None = None
    if fault is _UNTRUSTED and kafka.tls:
        why = handshakes.fault_of(handshakes.servers_of_kafka(kafka.servers), kafka.tls.ca)
    elif fault is _UNKNOWN and kafka.tls and kafka.tls.cert:
        from runtime.certificates import expiry_of  # noqa: PLC0415  # takes its time at each start, and is hardly ever needed

        until = expiry_of(kafka.tls.cert)
        why = "ours has expired" if until and until <= datetime.now(UTC) else None
    return fault._replace(text=f"{fault.text}: {why}") if why else fault


class Faults:
    """Takes what a client of librdkafka reports of its connections, and keeps the last thing that explains something."""

    def __init__(self) -> None:
        self.last: Fault | None = None

    def client(self, kafka: Cluster) -> dict[str, Any]:
        """The settings of a client of this cluster that reports here, and prints nothing."""
        return kafka.client | {"log_level": 0, "error_cb": self.take}

    def take(self, error: KafkaError) -> None:
        """Keep what the error explains."""
        self.last = fault_of_text(error.str()) or self.last

    def describe(self, kafka: Cluster, client: AdminClient, error: KafkaException) -> str:
        """One sentence for an error of a client that cannot reach the brokers."""
        text, settings = self.explain(kafka, client)
        return f"Kafka does not answer at {kafka.servers}: {text} ({error.args[0].str()}); see {settings}"

    def explain(self, kafka: Cluster, client: AdminClient) -> Fault:
        """The last fault that the client reports; without any, the server does not speak as it is spoken to."""
        client.poll(0)  # a client reports only when it is asked
        return in_full(kafka, self.last or _MUTE)
