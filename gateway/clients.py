"""The address of the caller: the peer itself, or the client that a trusted proxy names."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from aiohttp import web

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

UNKNOWN: Final = "unknown"


class Clients:
    """
    Distinguishes clients.

    `X-Forwarded-For` counts only if a trusted proxy sent it. It is read from the right, up to the first address that is not a
    trusted proxy's: that one is the client. The client may have invented everything to the left of it.
    """

    def __init__(self, trusted: Sequence[Network] = (), *, ipv6_prefix: int = 64) -> None:
        self._trusted = trusted
        self._ipv6_prefix = ipv6_prefix
        self.named = lru_cache(maxsize=4096)(self._name)
        """Returns the client for the address of a connection and the value of `X-Forwarded-For`."""

    def of(self, request: web.BaseRequest) -> str:
        """The client's address; for IPv6 its /64 network, the smallest that one client has."""
        hops = request.headers.getall("X-Forwarded-For", ()) if self._trusted else ()
        return self.named(request.remote or "", ",".join(hops))

    def _name(self, peer: str, forwarded: str) -> str:
        client = _parse(peer)
        if client is None:
            return UNKNOWN
        for hop in reversed([each for each in forwarded.split(",") if each.strip()]):  # empty elements count for nothing
            if not any(client in network for network in self._trusted):
                break
            named = _parse(hop)
            if named is None:
                break
            client = named
        return str(client) if isinstance(client, IPv4Address) else str(IPv6Network((client, self._ipv6_prefix), strict=False))


def _parse(text: str) -> Address | None:
    """
    Parse an address, with a port if a proxy has added one; an IPv4-mapped IPv6 address becomes the IPv4 one.

    The zone of an IPv6 address is removed: it has a meaning on its own host only, and a client could invent one for each call.
    """
    text = text.strip()
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address if isinstance(address, IPv4Address) else address.ipv4_mapped or IPv6Address(int(address))
