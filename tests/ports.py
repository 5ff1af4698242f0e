"""Ports for what a test starts or leaves unanswered."""

from __future__ import annotations

from itertools import count
from typing import Final

from ops.stack.ports import Ports

_PORTS: Final = Ports()
_NUMBERS: Final = count()


def free_port() -> int:
    """A port of the loopback that no other test is given, in this process or beside it, before or after."""
    return _PORTS.take(f"test-{next(_NUMBERS)}", 0)
