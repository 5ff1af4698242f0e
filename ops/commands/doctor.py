"""`tallyhook doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
