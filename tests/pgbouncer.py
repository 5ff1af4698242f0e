"""A pooler before Postgres: PgBouncer in session mode."""

from __future__ import annotations

import os
import pwd
import shutil
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from typing_extensions import override

from ops.stack.child import Account
from ops.stack.places import as_root
from ops.stack.ports import Ports, is_free
from ops.stack.server import Server
from runtime.addresses import LOOPBACK
from tests import debian
from tests.needs import missing

if TYPE_CHECKING:
    from pathlib import Path

_PACKAGES: Final = {
    "pgbouncer=1.18.0-1+deb12u1": "b8468c31f94596da0967b1a27980a0a036268eb8e53d3e647651bd7b82b6f65e",
    "libc-ares2=1.18.1-3": "087fd5c2ac883202e1786ab45617cdab7f77bc7f060d58cca177ddf6b6c3fa73",
    "libevent-2.1-7=2.1.12-stable-8+deb12u1": "95a025ae2548aed9dbb0f0a0215b0483b7fa43db1d4f1f318f013f2ea84987c3",
}
_SETTINGS: Final = """
[databases]
* = host={host} port={behind} user={user} password={password}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = session
default_pool_size = 100
"""


class PgBouncer(Server):
    """Accepts every login, and connects to the server as its owner; all other settings are defaults."""

    name = "pgbouncer"

    def __init__(self, folder: Path, behind: str) -> None:
        super().__init__(folder, Ports({}))
        self._behind = urlsplit(behind)

    @override
    def take_ports(self, ports: Ports) -> None:
        self.port = ports.take(self.name, 0)

    @property
    @override
    def url(self) -> str:
        return f"postgresql://somebody@{LOOPBACK}:{self.port}{self._behind.path}"

    @override
    def account(self) -> Account | None:
        """PgBouncer refuses root, as Postgres does."""
        nobody = pwd.getpwnam("nobody")
        return Account(nobody.pw_name, nobody.pw_uid, nobody.pw_gid) if as_root() else None

    @override
    def prepare(self) -> None:
        try:
            packages = debian.unpacked(self.name, _PACKAGES)
        except debian.Unavailable as error:
            missing(f"no PgBouncer: {error}")
        # Copied to a folder that the account may read.
        shutil.copytree(packages / "usr", self.folder / "usr", dirs_exist_ok=True)
        assert self._behind.password
        self._settings.write_text(
            _SETTINGS.format(
                host=LOOPBACK,
                behind=self._behind.port,
                user=self._behind.username,
                password=self._behind.password,
                port=self.port,
            )
        )
        if account := self.account():
            os.chown(self._settings, account.uid, account.gid)

    @property
    def _settings(self) -> Path:
        return self.folder / "pgbouncer.ini"

    @override
    def command(self) -> list[str | Path]:
        [libraries] = {library.parent for library in (self.folder / "usr" / "lib").rglob("libcares.so.2")}
        return ["/usr/bin/env", f"LD_LIBRARY_PATH={libraries}", self.folder / "usr" / "sbin" / "pgbouncer", self._settings]

    @override
    def ready(self) -> bool:
        return not is_free(self.port)
