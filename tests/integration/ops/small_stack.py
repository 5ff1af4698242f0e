"""`up` as the real one runs, with Redis and three fake processes: `small_stack.py CHECKOUT DATA_DIR [BROKEN]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ops.dev.progress import Progress
from ops.dev.up import Plan, up
from ops.stack.errors import StackError
from ops.stack.supervisor import ProcessSpec

if TYPE_CHECKING:
    from ops.stack.ports import Ports

FAKE = Path(__file__).with_name("fake_process.py")
CHECKOUT, DATA_DIR, BROKEN = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]


def fake_processes(ports: Ports, _settings: dict[str, str]) -> tuple[dict[str, str], list[ProcessSpec]]:
    specs = [fake(name, ports.take(name, 1), rank) for rank, name in enumerate(("gateway", "worker", "relay"))]
    return {"PUBLIC_HOST": "127.0.0.1", "PUBLIC_PORT": str(ports.take("gateway", 1))}, specs


def fake(name: str, port: int, rank: int) -> ProcessSpec:
    script = (sys.executable, str(FAKE), name, str(port), str(CHECKOUT / "order"))
    broken = (sys.executable, "-c", "import sys; sys.exit('broken on purpose')")
    return ProcessSpec(
        name=name,
        command=broken if name in BROKEN else script,
        ready_url=f"http://127.0.0.1:{port}/health/ready",
        stop_rank=rank,
    )


try:
    with Progress(Console()) as progress:
        up(Plan(CHECKOUT, DATA_DIR, setup=(), processes=fake_processes), progress, lambda: progress.print_line("all ready"))
except StackError as error:
    sys.exit(f"dev: {error}")
