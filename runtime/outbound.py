"""
The addresses that a delivery may reach: none is in our own network (server-side request forgery), unless it is allowed.

Settings and the API refuse an address by its text; when a socket is connected, its actual address is checked again, since a name
may resolve to any address.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from runtime.addresses import LOOPBACK
from runtime.endpoints import check_http
from runtime.settings import Networks, Settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The address space of the internet and its special parts, by IANA's registries; `is_global` differs between Pythons.
# https://www.iana.org/assignments/iana-ipv4-special-registry, …/iana-ipv6-special-registry,
# …/ipv6-unicast-address-assignments, …/ipv4-address-space
_INTERNET: Final = (ip_network("0.0.0.0/0"), ip_network("2000::/3"))
_SPECIAL: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by carriers; Alibaba's metadata
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's wire server, in no registry
            "169.254.0.0/16",  # link-local; most clouds' metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays, deprecated
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID, AMT, AS112
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "2d00::/8",  # reserved
            "2e00::/7",  # reserved
            "3000::/4",  # reserved; documentation and the 6bone among it
        ),
    )
)
# Prefixes before an IPv4 address in the last 32 bits: compatible, mapped, translated (SIIT), NAT64.
_V4_LAST: Final = tuple(map(ip_network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
_NAT64_LOCAL: Final = ip_network("64:ff9b:1::/48")
_SIXTOFOUR: Final = ip_network("2002::/16")
_TEREDO: Final = ip_network("2001::/32")
_ISATAP: Final = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")
# A host that ends in a number is an address, in one notation or another (https://url.spec.whatwg.org/#ends-in-a-number-checker).
_NUMBER: Final = re.compile(r".*:.*|(?:.*[.])?(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)
REFUSED: Final = "the address is in a private network, which OUTBOUND_ALLOW does not allow"


def is_refused(url: str, allowed: Sequence[Network]) -> bool:
    """Return whether the text of the address alone shows that it is not allowed; a name is checked when it is resolved."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    local = host == "localhost" or host.endswith(".localhost")
    return bool(local or _NUMBER.fullmatch(host)) and not may_connect(LOOPBACK if local else host, allowed)


def may_connect(text: str, allowed: Sequence[Network]) -> bool:
    """Return whether a socket may be connected to the address; a text that is no address in plain notation is refused."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    inside = _inside(address)
    if any(each in network for network in allowed for each in (address, *inside)):
        return True
    return not inside and any(address in net for net in _INTERNET) and not any(address in net for net in _SPECIAL)


def _inside(address: Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address may embed; none if it embeds none."""
    if isinstance(address, IPv4Address):
        return ()
    packed, last = address.packed, IPv4Address(address.packed[12:])
    if any(address in network for network in _V4_LAST):
        return (last,)
    if address in _NAT64_LOCAL:  # after 48 bits around a zero octet, or after 96 (RFC 6052)
        return (IPv4Address(packed[6:8] + packed[9:11]), last)
    if address in _SIXTOFOUR:
        return (IPv4Address(packed[2:6]),)
    if address in _TEREDO:
        return (IPv4Address(bytes(byte ^ 0xFF for byte in packed[12:])),)
    return (last,) if packed[8:12] in _ISATAP else ()


class OutboundSettings(Settings):
    """The settings of a process that delivers to other parties' addresses."""

    outbound_allow: Networks = ()
    """Networks that deliveries may reach although they are private, comma-separated, such as `127.0.0.0/8`."""

    @classmethod
    def destinations(cls, given: Mapping[str, str]) -> Iterator[str]:  # noqa: ARG003  # for subclasses
        """Yield the names of the variables that hold such an address."""
        yield from ()

    @classmethod
    def conflicts(cls, given: Mapping[str, str]) -> Iterator[str]:
        yield from super().conflicts(given)
        allowed = cls.value("OUTBOUND_ALLOW", given)
        yield from (
            f"{name}: {REFUSED}"
            for name in cls.destinations(given)
            if allowed is not None and _can_be_read(given[name]) and is_refused(given[name], allowed)
        )


def _can_be_read(url: str) -> bool:
    """Return whether it is an address at all; the field itself refuses any other text."""
    try:
        return bool(check_http(url))
    except ValueError:
        return False
