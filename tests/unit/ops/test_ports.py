"""The choice of a port for a listener."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import pytest

from ops.stack.errors import PortTaken
from ops.stack.ports import Ports, is_free
from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    return Ports().take("anything", 1)


def test_the_remembered_port_comes_before_the_well_known_one(free_port: int) -> None:
    assert Ports({"kafka": free_port}, well_known=True).take("kafka", 9092) == free_port


def test_the_well_known_port_is_used_if_it_is_free(free_port: int) -> None:
    assert Ports(well_known=True).take("kafka", free_port) == free_port


def test_without_well_known_ports_a_free_one_is_used(free_port: int) -> None:
    assert Ports().take("kafka", free_port) != free_port


def test_a_taken_port_is_skipped(taken_port: int) -> None:
    port = Ports({"kafka": taken_port}, well_known=True).take("kafka", taken_port)
    assert port != taken_port
    assert is_free(port)


def test_no_two_listeners_get_the_same_port(free_port: int) -> None:
    ports = Ports(well_known=True)
    assert ports.take("one", free_port) != ports.take("other", free_port)


def test_a_listener_keeps_its_port(free_port: int) -> None:
    ports = Ports(well_known=True)
    assert ports.take("one", free_port) == ports.take("one", free_port)


def test_a_taken_port_that_was_requested_is_an_error_that_names_it(taken_port: int) -> None:
    with pytest.raises(PortTaken, match=f"public is to listen on 127.0.0.1:{taken_port}"):
        Ports().take_exactly("public", taken_port)


def test_any_free_port_was_requested() -> None:
    assert is_free(Ports().take_exactly("public", 0))


@pytest.mark.parametrize(("host", "why"), [("192.0.2.1", "no such address"), ("nowhere.invalid", "cannot be resolved")])
def test_an_address_that_is_not_ours_is_reported_as_that(host: str, why: str) -> None:
    with pytest.raises(PortTaken, match=why):
        Ports().take_exactly("public", 8080, host)


def test_a_port_beyond_the_last_one_is_skipped() -> None:
    assert Ports(well_known=True).take("worker", 65_536) <= 65_535


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port that is held is kept from its own server too")
def test_a_free_port_is_held_for_its_own_server_until_its_stack_is_gone() -> None:
    """A search for a free port finds only this one, though no server listens there yet."""
    ports = Ports()
    port = ports.take("worker", 0)
    for _ in range(2):  # also when the server has been stopped
        with socket.create_server((LOOPBACK, port)):
            assert not is_free(port)
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((LOOPBACK, port))
    del ports
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, port))


def test_no_two_stacks_get_the_same_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Ports().take("anything", 0)
    monkeypatch.setattr("ops.stack.ports._FREE_RANGE", range(first - 200, first + 1))
    stacks = [Ports() for _ in range(60)]
    found = [stack.take("worker", 0) for stack in stacks]
    assert len(set(found)) == len(found)
