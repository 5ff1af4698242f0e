"""Ports for servers that a test starts, or for addresses that do not answer."""

from __future__ import annotations

from itertools import count
from typing import Final

from ops.stack.ports import Ports

_PORTS: Final = Ports()
_NUMBERS: Final = count()


def free_port() -> int:
    """Return a loopback port that no other test of this or another process ever gets."""
    return _PORTS.take(f"test-{next(_NUMBERS)}", 0)
