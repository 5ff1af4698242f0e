"""The state of a stack as data; `report.py` writes it for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ops.dev.processes import SINK
from ops.dev.servers import ServerStatus, examine_servers
from ops.stack.stack import VARIABLES
from ops.stack.state import StackState, StateFile
from runtime.addresses import address

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
    servers: tuple[ServerStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()


def read_status(data_dir: Path) -> StackStatus:
    """The status of the stack on this data directory; `down` unless its supervisor lives."""
    state = StateFile(data_dir).read()
    return describe(state) if state.running else StackStatus()


def examine(data_dir: Path) -> StackStatus:
    """The same, with its servers, each of which is checked now."""
    state = StateFile(data_dir).read()
    if not state.running:
        return StackStatus()
    return msgspec.structs.replace(describe(state), servers=examine_servers(state, data_dir))


def describe(state: StackState) -> StackStatus:
    """The state in the form on which other programs may rely."""
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


def _listener(known: dict[str, str], name: str) -> str | None:
    port = known.get(f"{name}_PORT")
    scheme = "https" if known.get(f"{name}_TLS_CERT") else "http"
    return address((known[f"{name}_HOST"], int(port)), scheme) if port else None
