"""The addresses to which a lead may be delivered."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.outbound import may_connect
from streams.leads.crm import AddressRefused, guarded_socket


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:80f::200e", "2001:470::1", "2400:cb00::1"]
)
def test_the_world_may_be_reached(address: str) -> None:
    assert may_connect(address, ())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.200",
        "169.254.169.254", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:53aa:64c:0:fffe:80ff:fffe",
        "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1", "198.51.100.7", "203.0.113.7", "239.255.255.250",
        "172.31.255.255", "fec0::1", "feff::1", "100::1", "100:0:0:1::1", "200::1", "400::1", "4000::1", "5f00::1", "8000::1",
        "e000::1", "3fff::1", "3ffe::1", "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:10::1", "2001:20::1", "2001:30::1",
        "2620:4f:8000::1", "2d00::1", "2e00::1", "3000::1", "::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1:7f00:0:100::", "64:ff9b:1::7f00:1", "2002:808:808::1", "2606:4700::5efe:10.0.0.1",
        "2606:4700::200:5efe:10.0.0.1", "fe80::1%1", "ff0e::1", "fd00::1%eth0", "0177.0.0.1", "0x7f.0.0.1", "127.0.0.1.",
        "[::1]", " 127.0.0.1", "127.0.0.1/8", "%", "%eth0", "1e3", "٨.٨.٨.٨", "8.8.8.8\n", "127.1", "2130706433", "0x7f000001",
        "localhost", "",
    ],
)  # fmt: skip
def test_internal_or_unusual_addresses_may_not_be_reached(address: str) -> None:
    assert not may_connect(address, ())


def test_a_network_may_be_allowed_in_whatever_notation_its_addresses_come() -> None:
    allowed = (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))
    assert all(may_connect(address, allowed) for address in ("127.0.0.1", "::ffff:127.0.0.1", "fd00::1"))
    assert not any(may_connect(address, allowed) for address in ("10.0.0.1", "::1", "::ffff:10.0.0.1"))


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:10.1.2.3",
        "::10.1.2.3",
        "64:ff9b::10.1.2.3",
        "64:ff9b:1:a01:2:300::",
        "2002:a01:203::1",
        "2001:0:1:2:3:4:f5fe:fdfc",
    ],
)
def test_another_form_of_an_allowed_address_may_be_reached(address: str) -> None:
    assert not may_connect(address, ())
    assert may_connect(address, (ip_network("10.0.0.0/8"),))


@given(st.ip_addresses(v=6) | st.ip_addresses(v=4))
def test_nothing_is_reached_that_python_knows_as_not_global(address: IPv4Address | IPv6Address) -> None:
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback or address.is_link_local:
        assert not may_connect(str(address), ())


@given(st.text(max_size=40))
def test_no_text_breaks_the_guard(text: str) -> None:
    assert isinstance(may_connect(text, ()), bool)


def test_no_socket_is_made_for_an_address_that_is_refused() -> None:
    make = guarded_socket(())
    with pytest.raises(AddressRefused) as refused:
        make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    assert refused.value.errno == errno.EACCES
    make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))).close()
