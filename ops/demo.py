"""`demo`: the journey of an event, shown on a running stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.dev.status import read_status
from ops.stack.errors import StackError

if TYPE_CHECKING:
    from pathlib import Path


def demo(data_dir: Path) -> None:
    """Show the stack on this data directory at work."""
    status = read_status(data_dir)
    if status.phase != "ready":
        raise StackError("no stack is running: start it with ./dev up")
    print(f"the gateway takes webhooks at {status.public}/v1/webhooks/stripe")
