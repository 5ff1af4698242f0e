"""The TLS proxies of a stack's servers, which have no TLS: each proxy is its own process, on its own port."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import quote

import psycopg
import redis
import requests
from psycopg import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.commands.grants import sql_of
from ops.stack.password import ensure_password, write_private
from ops.stack.postgres import DATABASE
from ops.stack.server import Server
from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from ops.stack.authority import Authority
    from ops.stack.elasticsearch import Elasticsearch
    from ops.stack.ports import Ports
    from ops.stack.postgres import Postgres
    from ops.stack.server import Surroundings
    from ops.stack.valkey import Valkey

USER: Final = "tallyhook"
OWNER: Final = "tallyhook_owner"
_HERE: Final = Path(__file__).parent
_LIMIT: Final = 2  # seconds


class TlsProxy(Server):
    """The TLS proxy of one server; `url` is its address for clients."""

    def __init__(self, folder: Path, ports: Ports, around: Surroundings, authority: Authority) -> None:
        self.authority = authority
        super().__init__(folder, ports, around)

    def take_ports(self, ports: Ports) -> None:
        self.port = ports.take(self.name, 0)

    def prepare(self) -> None:
        """Do nothing: the authority has made all files."""


class PostgresProxy(TlsProxy):
    """Postgres with TLS for every client."""

    name: ClassVar[str] = "postgres_tls"

    def __init__(self, server: Postgres, folder: Path, ports: Ports, around: Surroundings, authority: Authority) -> None:
        super().__init__(folder, ports, around, authority)
        self._server = server

    @property
    def url(self) -> str:
        """The address for the processes, whose role owns nothing."""
        return self.url_of(USER, self.password)

    @property
    def owner_url(self) -> str:
        """The address for migrations."""
        return self.url_of(OWNER, self.password)

    def prepare(self) -> None:
        """Make the two roles by the SQL that `tallyhook grants` prints for operators."""
        self.password = ensure_password(self.folder, lambda _: None)
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            connection.execute(sql_of(OWNER, USER).encode())
            for role in (OWNER, USER):
                name, password = sql.Identifier(role), sql.Literal(self.password)
                connection.execute(sql.SQL("alter role {} password {}").format(name, password))

    def url_of(self, user: str, password: str, database: str = DATABASE) -> str:
        """The address of a user, by which the server's certificate is verified."""
        query = f"sslmode=verify-full&sslrootcert={quote(str(self.authority.ca), safe='')}"
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.port}/{database}?{query}"

    def command(self) -> list[str | Path]:
        return [sys.executable, _HERE / "tls_proxy.py", "postgres", str(self.port), str(self._server.port), self.authority.server]

    def ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=_LIMIT).close()
        except psycopg.OperationalError:
            return False
        return True


class ValkeyProxy(TlsProxy):
    """Valkey with TLS, for a user of an access list who has only the rights that our processes need."""

    name: ClassVar[str] = "redis_tls"

    def __init__(self, server: Valkey, folder: Path, ports: Ports, around: Surroundings, authority: Authority) -> None:
        super().__init__(folder, ports, around, authority)
        self._server = server

    @property
    def url(self) -> str:
        return f"rediss://{USER}:{self.password}@{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        self.password = ensure_password(self.folder, lambda _: None)

    def command(self) -> list[str | Path]:
        return [sys.executable, _HERE / "tls_proxy.py", "tls", str(self.port), str(self._server.port), self.authority.server]

    def ready(self) -> bool:
        once = Retry(NoBackoff(), retries=0)  # the caller owns the loop
        try:
            with redis.Redis.from_url(self._server.url, retry=once) as client:
                client.acl_setuser(USER, enabled=True, passwords=[f"+{self.password}"], keys=["*"], commands=[*RIGHTS])
            with redis.Redis.from_url(self.url, ssl_ca_certs=str(self.authority.ca), socket_timeout=_LIMIT, retry=once) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


RIGHTS: Final = ("+@read", "+@write", "+@scripting", "+@connection", "+info", "-@dangerous", "+info", "+keys")
"""The commands of the cache worker, the rate limits and the doctor, in the notation of an access list of Redis."""


class ElasticsearchProxy(TlsProxy):
    """Elasticsearch with TLS, for a user with a password and for an API key."""

    name: ClassVar[str] = "elasticsearch_tls"

    def __init__(self, server: Elasticsearch, folder: Path, ports: Ports, around: Surroundings, authority: Authority) -> None:
        super().__init__(folder, ports, around, authority)
        self._server = server

    @property
    def url(self) -> str:
        return f"https://{LOOPBACK}:{self.port}"

    @property
    def url_with_user(self) -> str:
        """The address of the user with a password."""
        return f"https://{USER}:{self.password}@{LOOPBACK}:{self.port}"

    @property
    def api_key(self) -> str:
        """The key as Elasticsearch returns it: its id and its secret, encoded together."""
        return base64.b64encode(f"local:{self.password}".encode()).decode()

    def prepare(self) -> None:
        self.password = ensure_password(self.folder, lambda _: None)
        user = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        write_private(self._admitted, json.dumps([f"Basic {user}", f"ApiKey {self.api_key}"]))

    @property
    def _admitted(self) -> Path:
        return self.folder / "admitted.json"

    def command(self) -> list[str | Path]:
        program = _HERE / "elasticsearch_proxy.py"
        return [sys.executable, program, str(self.port), str(self._server.port), self.authority.server, self._admitted]

    def ready(self) -> bool:
        try:
            headers = {"Authorization": f"ApiKey {self.api_key}"}
            return requests.get(f"{self.url}/_cluster/health", headers=headers, verify=str(self.authority.ca), timeout=_LIMIT).ok
        except requests.RequestException:
            return False
