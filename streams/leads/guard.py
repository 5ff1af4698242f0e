"""
No partner's address may lead into our own network (server-side request forgery).

The check is made where a socket is about to be connected, on the very address that it is connected to: no name that resolves
otherwise a moment later, and no odd spelling of an address, gets past it.
"""

import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from aiohttp import AddrInfoType

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Global as far as `ipaddress` knows, and yet a cloud's own: Azure's wire server, and Oracle's metadata among IANA's special ones.
_METADATA: Final = (ip_network("168.63.129.16/32"), ip_network("192.0.0.0/24"))
_NAT64: Final = ip_network("64:ff9b::/96")


class AddressRefused(OSError):
    """The address is not one that a partner may have."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"address refused: {address}")


def may_connect(text: str, allowed: Sequence[Network]) -> bool:
    """Whether a socket may be connected to the address; what is no address in plain notation may not."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    inner = _inner(address)
    if any(each in network for network in allowed for each in (address, inner) if each is not None):
        return True
    if inner is not None or any(address in network for network in _METADATA):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def guarded_socket(allowed: Sequence[Network]) -> Callable[[AddrInfoType], socket.socket]:
    """Makes the sockets of a connector; raises AddressRefused instead of one that would go where it may not."""

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, target = info
        host = str(target[0])
        if not may_connect(host, allowed):
            raise AddressRefused(host)
        return socket.socket(family=family, type=kind, proto=protocol)

    return make
