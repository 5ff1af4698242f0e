"""Progress of several things at once: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from ops.dev.lines import wrapped

if TYPE_CHECKING:
    from rich.console import Console

_QUIET_FOR = 2.0  # seconds between two plain lines of one name, so that a download does not flood a log
_DONE = "ready"


class Progress:
    """A live table of the latest state of each name, safe to use from several threads; `print_line` prints lines that stay."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._latest: dict[str, str] = {}
        self._printed_at: dict[str, float] = {}
        self._live = Live(console=console, transient=True, refresh_per_second=8) if console.is_terminal else None

    def report(self, name: str, message: str) -> None:
        """Show what this name is doing now."""
        with self._lock:
            kind_changed = message.split(":", maxsplit=1)[0] != self._latest.get(name, "").split(":")[0]
            self._latest[name] = message
            if self._live:
                self._live.update(self._table())
            elif kind_changed or time.monotonic() - self._printed_at.get(name, 0) >= _QUIET_FOR:
                self._printed_at[name] = time.monotonic()
                self.print_line(f"{name}: {message}")

    def print_line(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(wrapped(line), highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.settle()

    def settle(self) -> None:
        """Remove the live table; later reports are plain lines."""
        live, self._live = self._live, None
        if live:
            live.stop()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, message in self._latest.items():
            table.add_row("✓" if message == _DONE else Spinner("dots"), name, message)
        return table
