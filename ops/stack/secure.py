"""The servers of one data directory as companies run them: with TLS, passwords and verified certificates everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but for its stubs
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from ops.stack.authority import Authority
from ops.stack.elasticsearch import Elasticsearch
from ops.stack.kafka import Kafka
from ops.stack.password import ensure_password
from ops.stack.postgres import Postgres
from ops.stack.stack import VARIABLES, Stack
from ops.stack.tls_proxies import USER, ElasticsearchProxy, PostgresProxy, TlsProxy, ValkeyProxy
from ops.stack.valkey import Valkey
from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    from ops.stack.ports import Ports
    from ops.stack.server import Server, Surroundings

_PROXIES: Final[dict[str, Any]] = {"postgres": PostgresProxy, "redis": ValkeyProxy, "elasticsearch": ElasticsearchProxy}
_ROUNDS: Final = 8192  # of SCRAM; the least that Kafka accepts is 4096
_MECHANISM: Final = "SCRAM-SHA-512"
_PROPERTIES: Final = """
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller},SECURE://{host}:{secure}
advertised.listeners=PLAINTEXT://{host}:{port},SECURE://{host}:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={certificate}
listener.name.secure.sasl.enabled.mechanisms={mechanism}
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


class SecureKafka(Kafka):
    """A broker whose clients use TLS and a password; its own connections on the loopback use neither."""

    name: ClassVar[str] = "kafka"

    def __init__(self, folder: Path, ports: Ports, around: Surroundings, authority: Authority) -> None:
        self._authority = authority
        super().__init__(folder, ports, around)

    def take_ports(self, ports: Ports) -> None:
        super().take_ports(ports)
        self.secure_port = ports.take("kafka_tls", 0)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a client."""
        return {
            VARIABLES["kafka"]: f"{LOOPBACK}:{self.secure_port}",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": _MECHANISM,
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": self._password,
            "KAFKA_SSL_CA": str(self._authority.ca),
        }

    def prepare(self) -> None:
        self._password = ensure_password(self.folder, lambda _: None)
        super().prepare()

    def properties(self) -> str:
        return super().properties() + _PROPERTIES.format(
            host=LOOPBACK,
            port=self.port,
            controller=self.controller_port,
            secure=self.secure_port,
            certificate=self._authority.server,
            mechanism=_MECHANISM,
        )

    def ready(self) -> bool:
        return super().ready() and self._add_user()

    def _add_user(self) -> bool:
        password = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ROUNDS)
        user = UserScramCredentialUpsertion(USER, password, self._password.encode())
        admin = AdminClient({"bootstrap.servers": self.url})  # kept until the answer arrives: the call would end with it
        try:
            for done in admin.alter_user_scram_credentials([user]).values():
                done.result(5)
        except KafkaException:
            return False
        return True


class SecureStack(Stack):
    """A stack whose `environment` leads through the TLS proxies."""

    @property
    def environment(self) -> dict[str, str]:
        found = super().environment
        for server in self.servers:
            found |= self._settings_of(server)
        return found

    @property
    def migrating(self) -> dict[str, str]:
        proxy = self._servers.get(PostgresProxy.name)
        return {VARIABLES[Postgres.name]: proxy.owner_url} if isinstance(proxy, PostgresProxy) else {}

    def start(self) -> None:
        """Start the servers, and then the proxy of each that has one."""
        self.authority = Authority(self.data_dir / "certificates")
        super().start()
        for name, kind in _PROXIES.items():
            server = self._servers.get(name)
            if server is None:
                continue
            if kind.name not in self._servers:
                folder = self.data_dir / kind.name
                self._servers[kind.name] = kind(server, folder, self.ports, self._around, self.authority)
            self.state.change(ports=self.ports.taken)
            self._servers[kind.name].start()

    def proxy(self, name: str) -> TlsProxy:
        """The TLS proxy of this server."""
        found = self._servers[_PROXIES[name].name]
        assert isinstance(found, TlsProxy)  # noqa: S101  # narrows the type
        return found

    def _make(self, name: str) -> Server:
        if name == Kafka.name:
            return SecureKafka(self.data_dir / name, self.ports, self._around, self.authority)
        return super()._make(name)

    def _settings_of(self, server: Server) -> dict[str, str]:
        authority = str(self.authority.ca)
        if isinstance(server, SecureKafka):
            return server.settings
        if isinstance(server, PostgresProxy):
            return {VARIABLES[Postgres.name]: server.url}
        if isinstance(server, ValkeyProxy):
            return {VARIABLES[Valkey.name]: server.url, "REDIS_SSL_CA": authority}
        if isinstance(server, ElasticsearchProxy):
            key = {"ELASTICSEARCH_API_KEY": server.api_key, "ELASTICSEARCH_SSL_CA": authority}
            return {VARIABLES[Elasticsearch.name]: server.url, **key}
        return {}
