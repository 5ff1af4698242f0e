"""Prometheus' own checker passes the rules, their cases and the expressions of the dashboard."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from tests.unit.test_monitoring import PANELS, PROMETHEUS, RULES

if TYPE_CHECKING:
    from pathlib import Path


def run(promtool: Path, *arguments: str) -> str:
    done = subprocess.run([promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_rules_and_the_configuration(promtool: Path) -> None:
    assert f"{len(RULES)} rules found" in run(promtool, "check", "rules", "alerts.yml")
    run(promtool, "check", "config", "prometheus.yml")


def test_the_rules_fire_or_not_as_their_cases_expect(promtool: Path) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", "alerts.test.yml")


def test_the_expressions_of_the_dashboard_are_promql(promtool: Path, tmp_path: Path) -> None:
    """Prometheus has no checker for expressions alone, so they are wrapped in rules."""
    replaced = {"$__rate_interval": "5m", "$instance": ".*"}
    rules = []
    for number, target in enumerate(target for panel in PANELS for target in panel["targets"]):
        text = target["expr"]
        for name, value in replaced.items():
            text = text.replace(name, value)
        rules.append({"record": f"dashboard:{number}", "expr": text})
    file = tmp_path / "dashboard.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(promtool, "check", "rules", str(file))
