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
            help="Processes to check: gateway, relay, worker-payments and so on. Default: all.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Report every error in the settings without connecting to anything; the exit code is 1 if a process would not start."""
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
