"""The address of a client, from its connection and the headers of trusted proxies."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from gateway.clients import UNKNOWN, Clients

if TYPE_CHECKING:
    from unittest.mock import Mock

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


class Transport:
    def __init__(self, peer: str | None) -> None:
        self._peer = peer

    def get_extra_info(self, _: str) -> tuple[str, int] | None:
        return (self._peer, 1) if self._peer else None


def client_of(peer: str | None, *forwarded: str, trusted: bool = True) -> str:
    headers = [("X-Forwarded-For", value) for value in forwarded]
    transport: Mock | Transport = Transport(peer)
    request = make_mocked_request("POST", "/", headers=dict(headers[:1]), transport=transport)
    if len(headers) > 1:
        many = request.headers.copy()
        many.extend(headers[1:])
        request = request.clone(headers=many)
    return Clients(PROXIES if trusted else ()).of(request)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.7", (), "198.51.100.7"),
        ("198.51.100.7", ("203.0.113.1",), "198.51.100.7"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.1",), "203.0.113.1"),
        ("10.0.0.1", ("1.1.1.1, 203.0.113.1",), "203.0.113.1"),
        ("10.0.0.1", ("1.1.1.1", "203.0.113.1"), "203.0.113.1"),
        ("10.0.0.1", ("1.1.1.1, 203.0.113.1, 10.0.0.2",), "203.0.113.1"),
        ("10.0.0.1", ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        ("10.0.0.1", ("203.0.113.1:4711",), "203.0.113.1"),
        ("10.0.0.1", ("[2001:db8::1]:4711",), "2001:db8::/64"),
        ("10.0.0.1", ("nonsense",), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.1, nonsense",), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.1, nonsense, 10.0.0.2",), "10.0.0.2"),
        ("10.0.0.1", ("",), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.1,",), "203.0.113.1"),
        ("10.0.0.1", ("203.0.113.1", ""), "203.0.113.1"),
        ("10.0.0.1", ("203.0.113.1, , 10.0.0.2, ",), "203.0.113.1"),
        ("::ffff:10.0.0.1", ("203.0.113.1",), "203.0.113.1"),
        ("fd00::1", ("::ffff:203.0.113.1",), "203.0.113.1"),
        ("2001:db8::1", (), "2001:db8::/64"),
        ("2001:db8::ffff", (), "2001:db8::/64"),
        ("fe80::1%eth0", (), "fe80::/64"),
        ("10.0.0.1", ("2001:db8::1%1",), "2001:db8::/64"),
        ("10.0.0.1", ("[2001:db8::1%eth0]:4711",), "2001:db8::/64"),
        ("10.0.0.1", ("fe80::%2",), "fe80::/64"),
        ("10.0.0.1", ("203.0.113.1, fd00::2%x",), "203.0.113.1"),
        ("10.0.0.1", ("203.0.113.1%1",), "10.0.0.1"),
        (None, ("203.0.113.1",), UNKNOWN),
    ],
)
def test_the_client_is_the_last_address_that_a_trusted_proxy_wrote(
    peer: str | None, forwarded: tuple[str, ...], client: str
) -> None:
    assert client_of(peer, *forwarded) == client


def test_without_trusted_proxies_the_header_is_ignored() -> None:
    assert client_of("10.0.0.1", "203.0.113.1", trusted=False) == "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [("fe80::%\udcff", "fe80::/64"), ("::ffff:203.0.113.1%\udcff", "203.0.113.1"), ("fe80::\udcff", "10.0.0.1")],
)
def test_no_byte_of_a_zone_is_in_the_name_of_a_client(forwarded: str, client: str) -> None:
    assert Clients(PROXIES).named("10.0.0.1", forwarded) == client


@given(st.text(alphabet="0123456789abcdef.:[], x%/\udcff\0", max_size=60))
def test_no_header_breaks_it(forwarded: str) -> None:
    client = Clients(PROXIES).named("10.0.0.1", forwarded)
    assert client in {str(ip_network(client)), str(ip_network(client).network_address)}
