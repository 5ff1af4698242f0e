"""A look at certificates is bounded as a whole: its caller has other work to do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from runtime import handshakes
from runtime.handshakes import fault_of, servers_of_kafka
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.handshakes import TlsServer


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep all servers silent until the test ends, except one whose certificate has expired."""
    over = threading.Event()

    def look(server: TlsServer, _: str | None) -> str | None:
        if server.host == "expired":
            return "certificate has expired"
        over.wait(10)
        return "found too late"

    monkeypatch.setattr(handshakes, "fault_of_certificate", look)
    yield
    over.set()


@pytest.mark.usefixtures("silent")
def test_a_silent_server_does_not_hide_the_fault_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "_LIMIT", LIMIT)
    assert fault_of(servers_of_kafka("one:9092,two:9092,expired:9092"), None) == "certificate has expired"


@pytest.mark.usefixtures("silent")
def test_the_look_ends_however_many_servers_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "_LIMIT", 0.1)
    assert fault_of(servers_of_kafka("one:9092,two:9092,three:9092"), None) is None
