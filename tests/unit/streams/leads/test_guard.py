"""Which addresses a delivery may go to."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_network

import pytest

from streams.leads.guard import AddressRefused, guarded_socket, may_connect


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111"])
def test_the_world_may_be_reached(address: str) -> None:
    assert may_connect(address, ())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.200",
        "169.254.169.254", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:53aa:64c:0:fffe:80ff:fffe",
        "127.1", "2130706433", "0x7f000001", "localhost", "",
    ],
)  # fmt: skip
def test_what_is_ours_or_odd_may_not(address: str) -> None:
    assert not may_connect(address, ())


def test_a_network_may_be_allowed_in_whatever_notation_its_addresses_come() -> None:
    allowed = (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))
    assert all(may_connect(address, allowed) for address in ("127.0.0.1", "::ffff:127.0.0.1", "fd00::1"))
    assert not any(may_connect(address, allowed) for address in ("10.0.0.1", "::1", "::ffff:10.0.0.1"))


def test_no_socket_is_made_for_an_address_that_is_refused() -> None:
    make = guarded_socket(())
    with pytest.raises(AddressRefused) as refused:
        make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    assert refused.value.errno == errno.EACCES
    make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))).close()
