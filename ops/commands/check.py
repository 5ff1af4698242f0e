"""`tallyhook check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from operations.output import Json, show


def check(
    processes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROCESS]...",
            help="gateway, relay, worker-payments and so on; all of them by default.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say everything that is wrong with the settings, connecting to nothing; exit 1 when a process would not start with them."""
    from ops.settings.kinds import PROCESSES
    from ops.settings.review import ADVICE, review

    if unknown := {*(processes or ())} - {*PROCESSES}:
        known = ", ".join(PROCESSES)
        raise typer.BadParameter(f"there is no {', '.join(sorted(unknown))}; there are: {known}", param_hint="PROCESS")
    found = review(Path.cwd(), processes or tuple(PROCESSES))
    lines = [f"fail  {line}" for line in found.problems] + [f"warn  {line}" for line in found.warnings]
    lines.append(ADVICE if found.problems else f"ok    {', '.join(processes) if processes else 'every process'} would start")
    data = {"ok": not found.problems, "problems": found.problems, "warnings": found.warnings}
    show(data, "\n".join(lines), as_json=as_json)
    raise typer.Exit(1 if found.problems else 0)
