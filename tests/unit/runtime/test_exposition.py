"""Silent clients of the small listener use no more of the process than a few threads."""

from __future__ import annotations

import socket
import threading
import urllib.request
from contextlib import ExitStack

import pytest

from runtime.addresses import address
from runtime.errors import Failure
from runtime.exposition import Exposition
from tests.waiting import wait_until


def test_silent_connections_are_bounded_and_a_scrape_has_room_again_when_one_is_gone() -> None:
    exposition = Exposition("127.0.0.1", 0, dict)
    exposition.start()
    before = threading.active_count()
    try:
        with ExitStack() as silent:
            held = [silent.enter_context(socket.create_connection(("127.0.0.1", exposition.port))) for _ in range(40)]
            for refused in held[32:]:
                assert refused.recv(1) == b""
            assert threading.active_count() <= before + 32
            held[0].close()
            wait_until(lambda: threading.active_count() < before + 32)
            with urllib.request.urlopen(f"http://127.0.0.1:{exposition.port}/health/live") as answer:
                assert answer.read() == b'{"live":true}'
    finally:
        exposition.stop()


@pytest.mark.parametrize("host", ["::1", "127.0.0.1", "localhost"])
def test_it_listens_on_addresses_of_both_kinds(host: str) -> None:
    exposition = Exposition(host, 0, dict)
    exposition.start()
    _, _, reachable = address((host, exposition.port)).partition("//")
    try:
        with urllib.request.urlopen(f"http://{reachable}/health/live") as answer:
            assert answer.read() == b'{"live":true}'
    finally:
        exposition.stop()


def test_it_prefers_the_address_of_ipv4_of_a_host_that_has_both(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(family, socket.SOCK_STREAM, 6, "", ("", 0)) for family in (socket.AF_INET6, socket.AF_INET)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    exposition = Exposition("127.0.0.1", 0, dict)
    exposition.start()
    exposition.stop()


def test_an_address_on_which_it_cannot_listen_is_an_error_of_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(Failure, match=f"127.0.0.1, port {port}: Address already in use") as failed:
            Exposition("127.0.0.1", port, dict)
    assert failed.value.reason == "cannot_listen"
