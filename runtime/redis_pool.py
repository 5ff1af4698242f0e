"""Pools of connections to Redis, whose login and server may change while they are in use."""

from contextlib import suppress
from typing import Any, Final

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import parse_url
from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from typing_extensions import override


class _Login(CredentialProvider):
    """The login that each connection of a pool requests when it connects."""

    def __init__(self, url: str) -> None:
        self.renew(url)

    def renew(self, url: str) -> None:
        parts = parse_url(url)
        self._now = UsernamePasswordCredentialProvider(parts.get("username"), parts.get("password"))

    @override
    def get_credentials(self) -> Any:
        return self._now.get_credentials()  # type: ignore[no-untyped-call]  # the library has no type for it

    @override
    async def get_credentials_async(self) -> Any:
        return self.get_credentials()


def pool_at(url: str, **options: Any) -> ConnectionPool:
    """Return the pool of `ConnectionPool.from_url`, whose login can change if the address has one."""
    parts: dict[str, Any] = {**parse_url(url)}
    if {parts.pop("username", None), parts.pop("password", None)} != {None}:
        parts["credential_provider"] = _Login(url)
    return ConnectionPool(**{**options, **parts})


def renew_login(pool: ConnectionPool, url: str) -> None:
    """Use the login of this address for new connections from now on; open connections stay."""
    login = pool.connection_kwargs.get("credential_provider")
    if isinstance(login, _Login):
        login.renew(url)


_READ_ONLY: Final = "-READONLY "  # within the error of a script, before Redis 7


async def leave_replica(pool: ConnectionPool, error: Exception) -> bool:
    """
    Close the connections if the error is a replica's refusal to write, so that the next ones use the address again.

    After a failover the address may lead to another server, while the old one keeps its clients and answers their reads and
    health checks. Connections in use are closed when they are returned. Returns False for any other error.
    """
    if not (isinstance(error, ReadOnlyError) or (isinstance(error, ResponseError) and _READ_ONLY in str(error))):
        return False
    with suppress(RedisError, OSError):  # the server may be gone by now
        await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]  # the library has no type for it
        await pool.disconnect(inuse_connections=False)
    return True
