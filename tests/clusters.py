"""Servers with failover: three brokers, of which two must have each record, and a primary with a synchronous standby."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

import psycopg

from ops.stack.kafka import Kafka
from ops.stack.password import kept_password, write_private
from ops.stack.postgres import DATABASE, Postgres
from ops.stack.stack import KINDS
from runtime.addresses import LOOPBACK
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ops.stack.child import Account
    from ops.stack.ports import Ports
    from ops.stack.server import Server

BROKERS: Final = ("kafka", "kafka-2", "kafka-3")
COPIES: Final = {"KAFKA_REPLICATION_FACTOR": "3"}
"""The setting under which topics are made; the brokers require two copies in sync."""
_PROPERTIES: Final = """
controller.quorum.voters={voters}
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
replica.lag.time.max.ms=5000
controller.quorum.election.timeout.ms=1000
controller.quorum.fetch.timeout.ms=2000
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller},FAR://{host}:{far}
advertised.listeners=PLAINTEXT://{host}:{port},FAR://{host}:{link}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,FAR:PLAINTEXT
"""


class Broker(Kafka):
    """One of three brokers, each a controller too; clients of `link` reach `far` through a proxy that a test puts between."""

    @property
    def node(self) -> int:
        return BROKERS.index(self.name) + 1

    def take_ports(self, ports: Ports) -> None:
        self._ports = [(ports.take(name, 0), ports.take(f"{name}_controller", 0)) for name in BROKERS]
        self.port, self.controller_port = self._ports[self.node - 1]
        self.link, self.far = (ports.take(f"{self.name}_{end}", 0) for end in ("link", "far"))

    @property
    def url(self) -> str:
        return ",".join(f"{LOOPBACK}:{port}" for port, _ in self._ports)

    def properties(self) -> str:
        voters = ",".join(f"{node}@{LOOPBACK}:{controller}" for node, (_, controller) in enumerate(self._ports, start=1))
        return super().properties() + _PROPERTIES.format(
            voters=voters,
            host=LOOPBACK,
            port=self.port,
            controller=self.controller_port,
            far=self.far,
            link=self.link,
        )

    def _java(self) -> list[str]:
        return ["-Xmx256m" if word.startswith("-Xmx") else word for word in super()._java()]


class SecondBroker(Broker):
    name: ClassVar[str] = BROKERS[1]


class ThirdBroker(Broker):
    name: ClassVar[str] = BROKERS[2]


class Primary(Postgres):
    """A server whose `url` leads to whichever of the two takes writes, with the password in a file."""

    def take_ports(self, ports: Ports) -> None:
        super().take_ports(ports)
        self._standby_port = ports.take(Standby.name, 0)

    @property
    def url(self) -> str:
        hosts = f"{LOOPBACK}:{self.port},{LOOPBACK}:{self._standby_port}"
        return f"postgresql://postgres@{hosts}/{DATABASE}?target_session_attrs=read-write&passfile={self._passwords}"

    @property
    def _passwords(self) -> Path:
        return self.folder / "pgpass"

    def prepare(self) -> None:
        super().prepare()
        write_private(self._passwords, f"{LOOPBACK}:*:*:*:{self.password}\n")

    def wait_for_standby(self) -> None:
        """From now on a commit is acknowledged once the standby has it too."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("alter system set synchronous_standby_names = '*'")
            connection.execute("select pg_reload_conf()")
            synchronous = "select 1 from pg_stat_replication where sync_state = 'sync'"
            wait_until(lambda: connection.execute(synchronous).fetchone())


class Standby(Postgres):
    """A copy of the primary in the folder beside, which follows it until it is promoted."""

    name: ClassVar[str] = "postgres-2"

    def take_ports(self, ports: Ports) -> None:
        self.port = ports.take(self.name, 0)
        self._primary_port = ports.take(Primary.name, 0)

    def ready(self) -> bool:
        return _answers(f"{self.dsn}/postgres")

    def promote(self) -> None:
        with psycopg.connect(f"{self.dsn}/postgres", autocommit=True) as connection:
            connection.execute("select pg_promote()")

    def _initdb(self, folder: Path, account: Account | None) -> None:
        primary = self.folder.with_name(Primary.name)
        wait_until(lambda: kept_password(primary))
        password = kept_password(primary) or ""
        upstream = f"postgresql://postgres:{password}@{LOOPBACK}:{self._primary_port}/postgres"
        wait_until(lambda: _answers(upstream))
        words = ["--checkpoint=fast", "--write-recovery-conf"]
        self._run("copy the primary", ["pg_basebackup", "-d", upstream, "-D", folder, *words], account, folder)
        write_private(self.folder / "password", password)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def three_brokers() -> Mapping[str, type[Server]]:
    """The kinds of a stack whose Kafka may lose any broker."""
    return {**KINDS, **dict(zip(BROKERS, (Broker, SecondBroker, ThirdBroker), strict=True))}


def two_postgres() -> Mapping[str, type[Server]]:
    """The kinds of a stack whose primary may be lost."""
    return {**KINDS, Primary.name: Primary, Standby.name: Standby}
