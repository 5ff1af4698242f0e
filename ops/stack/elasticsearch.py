"""One Elasticsearch node, run from its published jars by our Python program `elasticsearch_node`."""

from __future__ import annotations

import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ops.stack.maven import ensure_jars
from ops.stack.probe import answers
from ops.stack.server import Server
from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from ops.stack.ports import Ports

_VERSION = "9.2.0"  # the newest that starts on a runtime without jdk.jlink; the pins in jars.toml go with it
_NODE = Path(__file__).with_name("elasticsearch_node.py")
_NETTY = "transport-netty4"
_NETTY_DESCRIPTOR = f"""\
name={_NETTY}
description=HTTP and transport over Netty
version={_VERSION}
elasticsearch.version={_VERSION}
java.version=21
classname=org.elasticsearch.transport.netty4.Netty4Plugin
"""


class Elasticsearch(Server):
    """A single node without security; has search, bulk and aggregations, but no scripts and no reindex."""

    name: ClassVar[str] = "elasticsearch"
    start_limit: ClassVar[timedelta] = timedelta(seconds=120)
    stop_limit: ClassVar[timedelta] = timedelta(seconds=30)

    def take_ports(self, ports: Ports) -> None:
        self.port = ports.take("elasticsearch", 9200)
        self.transport_port = ports.take("elasticsearch_transport", 9300)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Lay out a home as the node expects it: its one module in `modules`, the rest of the jars stay in the cache."""
        self._jars = ensure_jars("elasticsearch", self.name, self.around)
        netty = ensure_jars("elasticsearch-netty", self.name, self.around)
        for name in ("config", "data", "logs"):
            (self.folder / name).mkdir(exist_ok=True)
        module = self.folder / "modules" / _NETTY
        shutil.rmtree(module, ignore_errors=True)
        shutil.copytree(netty, module)
        (module / "plugin-descriptor.properties").write_text(_NETTY_DESCRIPTOR)

    def command(self) -> list[str | Path]:
        return [sys.executable, _NODE, self.folder, self._jars, str(self.port), str(self.transport_port)]

    def ready(self) -> bool:
        return answers(f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s", timeout=3)
