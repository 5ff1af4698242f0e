"""What runs where, for a person and for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ops.dev.processes import SINK, address
from ops.stack.stack import VARIABLES
from ops.stack.state import StackState, StateFile
from runtime.addresses import shown

if TYPE_CHECKING:
    from pathlib import Path


class ProcessStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of our processes."""

    name: str
    pid: int | None
    state: str
    log: str
    restarts: int
    web: str | None = None


class StackStatus(msgspec.Struct, frozen=True):
    """The whole stack; every URL as a client needs it, with its password, null while nothing runs."""

    phase: str = "down"
    public: str | None = None
    internal: str | None = None
    kafka: str | None = None
    postgres: str | None = None
    redis: str | None = None
    elasticsearch: str | None = None
    mail: str | None = None
    processes: tuple[ProcessStatus, ...] = ()


def read_status(data_dir: Path) -> StackStatus:
    """The status of the stack on this data directory; `down` unless its supervisor lives."""
    state = StateFile(data_dir).read()
    return describe(state) if state.running else StackStatus()


def describe(state: StackState) -> StackStatus:
    """A state as others may rely on it."""
    known = state.environment
    servers: dict[str, Any] = {name: known.get(variable) for name, variable in VARIABLES.items()}
    return StackStatus(
        phase=state.phase,
        public=_listener(known, "PUBLIC"),
        internal=_listener(known, "INTERNAL"),
        mail=next((each.web for each in state.processes if each.name == SINK), None),
        processes=tuple(
            ProcessStatus(each.name, each.pid, each.state, each.log, each.restarts, each.web) for each in state.processes
        ),
        **servers,
    )


def as_table(status: StackStatus, data_dir: Path) -> Table:
    """One table of what runs where, narrow enough for a plain terminal; without passwords."""
    table = Table(
        title=f"Tallyhook · {status.phase}",
        caption=f"data in {data_dir}, logs in its folder log/",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    for column in ("what", "where", "state"):
        table.add_column(column, no_wrap=column == "what", overflow="fold", min_width=10)
    for name in ("public", "internal", *VARIABLES):
        table.add_row(name, _shown(getattr(status, name)))
    table.add_section()
    for process in status.processes:
        state = process.state + (f" ({process.restarts} restarts)" if process.restarts else "")
        table.add_row(process.name, process.web or "", state)
    return table


def _shown(where: str | None) -> str:
    """Kafka's address has no scheme, and holds nothing but hosts."""
    return shown(where) if where and "://" in where else where or "-"


def _listener(known: dict[str, str], name: str) -> str | None:
    port = known.get(f"{name}_PORT")
    scheme = "https" if known.get(f"{name}_TLS_CERT") else "http"
    return address((known[f"{name}_HOST"], int(port)), scheme) if port else None
