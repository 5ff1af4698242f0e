"""Rules, dashboard and the page of metrics name what the processes expose."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from ops import metrics_page

ROOT: Final = Path(__file__).parents[2]
PROMETHEUS: Final = ROOT / "monitoring/prometheus"
RULES: Final[list[dict[str, Any]]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS: Final = [rule for rule in RULES if "alert" in rule]
DASHBOARD: Final[dict[str, Any]] = json.loads((ROOT / "monitoring/grafana/dashboards/tallyhook.json").read_text())
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
DECLARED: Final = {metric.name: metric for metric in metrics_page.declared()}

each_alert = pytest.mark.parametrize("alert", ALERTS, ids=[rule["alert"] for rule in ALERTS])


def metrics_of(text: str) -> set[str]:
    """The metrics of ours that an expression names, as they are declared."""
    found = re.findall(r"\btallyhook_[a-z_]+", text)
    return {re.sub(r"_(bucket|sum|count)$", "", name) if name not in DECLARED else name for name in found}


def test_every_alert_has_a_case() -> None:
    cases = (PROMETHEUS / "alerts.test.yml").read_text()
    assert [rule["alert"] for rule in ALERTS if rule["alert"] not in cases] == []


@each_alert
def test_an_alert_states_what_it_is_how_urgent_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}
    assert (ROOT / alert["annotations"]["runbook"]).is_file()


@each_alert
def test_the_index_has_the_page_of_every_alert_name(alert: dict[str, Any]) -> None:
    index = (ROOT / "runbooks/README.md").read_text()
    [line] = [line for line in index.splitlines() if f"`{alert['alert']}`" in line]
    assert f"({Path(alert['annotations']['runbook']).name})" in line


def test_rules_and_dashboard_name_metrics_that_exist() -> None:
    expressions = [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]
    named = set().union(*map(metrics_of, expressions))
    assert len(named) > 20
    assert sorted(named - DECLARED.keys()) == []


def test_recorded_series_that_are_used_are_recorded() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    used = re.findall(r"\btallyhook:[a-z_0-9:]+", json.dumps([DASHBOARD, ALERTS]))
    assert set(used) <= recorded


def test_labels_that_a_rule_groups_by_exist() -> None:
    for rule in RULES:
        wanted = {label.strip() for part in re.findall(r"\bby \(([^)]*)\)", rule["expr"]) for label in part.split(",")}
        known = {label for name in metrics_of(rule["expr"]) for label in DECLARED[name].labels}
        assert wanted <= known | {"le"}, rule


def test_the_dashboard_is_whole() -> None:
    assert DASHBOARD["uid"] == "tallyhook"
    assert DASHBOARD["schemaVersion"] >= 36
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        "At a glance", "Intake", "Outbox and relay", "Workers", "Deliveries", "Dead letters and ledger", "Resources",
    ]  # fmt: skip
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_a_panel_asks_the_chosen_data_source_and_has_a_unit(panel: dict[str, Any]) -> None:
    assert panel["type"] in {"timeseries", "stat"}
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_the_page_of_metrics_equals_the_declarations_in_the_code() -> None:
    assert metrics_page.PAGE.read_text() == metrics_page.page(), "stale: run `python -m ops.metrics_page`"


@pytest.mark.parametrize("metric", DECLARED.values(), ids=DECLARED)
def test_a_metric_keeps_the_conventions(metric: metrics_page.Declared) -> None:
    assert re.fullmatch(r"tallyhook_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb)(_|$)", metric.name)
    assert metric.meaning.endswith(".")
