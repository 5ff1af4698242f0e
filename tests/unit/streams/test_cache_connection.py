"""The faster client sends the same commands to the server as redis-py."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from streams.cache.handler import client_of


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "rediss://127.0.0.1:1/0", "unix:///nowhere.sock"])
@pytest.mark.parametrize(
    "command",
    [
        ("UNLINK", b"plain", b"with space", b"line\r\nbreak", "ümlaut".encode(), b"\x00\xff", b"", b"x" * 10_000),
        ("UNLINK", *(f"key:{n}".encode() for n in range(2500))),
        ("CONFIG GET", "maxmemory"),
        ("SCAN", 0, "MATCH", b"p:*", "COUNT", 5000),
    ],
)
def test_a_command_has_the_same_bytes(url: str, command: tuple[object, ...]) -> None:
    ours, theirs = client_of(url), Redis.from_url(url)
    packed = [b"".join(client.connection_pool.make_connection().pack_command(*command)) for client in (ours, theirs)]
    assert packed[0] == packed[1]


def test_an_option_of_the_address_comes_before_ours() -> None:
    client = client_of("redis://127.0.0.1:1/0?socket_timeout=2", socket_timeout=5.0, socket_connect_timeout=5.0)
    given = client.connection_pool.connection_kwargs
    assert (given["socket_timeout"], given["socket_connect_timeout"]) == (2.0, 5.0)
