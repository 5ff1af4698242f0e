"""`tallyhook doctor`, and `tallyhook check`, which connects to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from operations.output import Json, show
from runtime.settings import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.doctor.findings import Finding

_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(as_json: Json = False) -> None:
    """Examine settings, servers, schema, topics, clocks and waiting work; each fault has a remedy. Exit code 1 on failure."""
    from ops.doctor.examination import examine

    findings = examine(environment(), Path.cwd())
    failed = any(finding.level == "fail" for finding in findings)
    if as_json:
        show({"ok": not failed, "findings": [_as_dict(finding) for finding in findings]}, "", as_json=True)
    else:
        _print(findings)
    raise typer.Exit(1 if failed else 0)


def _as_dict(finding: Finding) -> dict[str, Any]:
    return {name: value for name, value in finding._asdict().items() if value}


def _print(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    wide = max(len(finding.area) for finding in findings)
    for finding in findings:
        console.print(
            Text(f"{finding.level:<4}", _STYLES[finding.level]), f"{finding.area:<{wide}}", Text(finding.text), soft_wrap=True
        )
        if finding.act:
            page = f" ({finding.runbook})" if finding.runbook else ""
            console.print(Text(f"     {'':<{wide}} → {finding.act}{page}", "dim"), soft_wrap=True)
    counts = [f"{sum(finding.level == level for finding in findings)} {level}" for level in _STYLES]
    console.print(", ".join(counts))


def check(
    processes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROCESS",
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
