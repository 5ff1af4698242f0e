"""The address of Redis in a pool of connections, which may change while the pool is in use."""

from typing import Final

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import parse_url

_LOGIN: Final = ("username", "password")


def readdress(pool: ConnectionPool, url: str) -> None:
    """Let the pool's new connections go to this address, with its login; those that are open stay."""
    kept = {name: value for name, value in pool.connection_kwargs.items() if name not in _LOGIN}
    parts = {name: value for name, value in parse_url(url).items() if name != "connection_class"}
    pool.connection_kwargs = kept | parts
