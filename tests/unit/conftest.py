"""Unit tests need no network: only this machine can be reached, and no name is looked up."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HERE: Final = frozenset({"localhost", "", None})


class NetworkUsedError(Exception):
    """Not an OSError, so that no code handles it as an error of the network."""


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    """Make a call that would leave this machine fail; what a subprocess does is not seen."""
    # Patched for each test: the same process runs tests that start servers, whose packages may have to be fetched first.
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name), lambda called: called[1]))
        patch.setattr(socket, "getaddrinfo", _guarded(socket.getaddrinfo, lambda called: called))
        yield


def _guarded(call: Callable[..., Any], address: Callable[[tuple[Any, ...]], Any]) -> Callable[..., Any]:
    def guarded(*called: Any, **options: Any) -> Any:
        place = address(called)
        if not isinstance(place, str | bytes) and not _is_here(place[0]):  # a path is a socket of this machine
            raise NetworkUsedError(f"a unit test wanted to reach {place[0]!r}")
        return call(*called, **options)

    return guarded


def _is_here(host: object) -> bool:
    if host in _HERE:
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False
