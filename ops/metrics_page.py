"""
The page of every metric: `python -m ops.metrics_page` writes `docs/metrics.md` from the code that declares them.

A metric belongs to the process that imports its module; `PROCESSES` names it by the longest prefix of the module.
"""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from prometheus_client.metrics import MetricWrapperBase

PAGE: Final = Path(__file__).parents[1] / "docs" / "metrics.md"
PACKAGES: Final = ("runtime", "outbox", "projections", "gateway", "streams", "operations")
PROCESSES: Final = {
    "runtime": "every process",
    "runtime.lease": "relay, worker leads",
    "projections.config_view": "gateway, worker leads, worker notifications",
    "projections.endpoints": "gateway",
    "projections.roster": "gateway, worker leads",
    "gateway": "gateway",
    "outbox": "relay",
    "operations": "relay",
    "operations.webhook_replay": "gateway",
    "streams": "every worker",
    "streams.alerts": "worker alerts",
    "streams.leads": "worker leads",
    "streams.notifications": "worker notifications",
    "streams.payments": "worker payments",
}
_TOP: Final = """# Metrics

Made from the code by `python -m ops.metrics_page`, which a test repeats. Every process answers at `/metrics`: the gateway on
its internal listener, each relay on `RELAY_WEB_PORT`, each worker on `STREAMS_WEB_PORT`. In addition there are `process_*` and
`python_*` of prometheus_client. [`monitoring`](../monitoring/README.md) has alert rules and a dashboard that use them.
A gateway of several processes (`GATEWAY_PROCESSES`) answers for all of them; the label `gateway_process` distinguishes them.
"""
_HEAD: Final = "| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n"


class Declared(NamedTuple):
    """A metric as declared, under the name that Prometheus reads."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    process: str


def declared() -> list[Declared]:
    """Every metric of this project, by process and name."""
    found = [_describe(metric, module) for module in _modules() for metric in _metrics_of(module)]
    return sorted(found, key=lambda metric: (list(PROCESSES.values()).index(metric.process), metric.name))


def _metrics_of(module: ModuleType) -> list[MetricWrapperBase]:
    """The metrics that the module declares, without those that it imports."""
    source = inspect.getsource(module)
    metrics = {id(value): value for value in vars(module).values() if isinstance(value, MetricWrapperBase)}
    return [metric for metric in metrics.values() if f'"{_name_of(metric)}"' in source]


def _describe(metric: MetricWrapperBase, module: ModuleType) -> Declared:
    [family] = metric.describe()
    labels = tuple(metric._labelnames)  # noqa: SLF001  # the library reports label names only with samples, and there are none yet
    name = module.__name__
    prefix = max((prefix for prefix in PROCESSES if f"{name}.".startswith(f"{prefix}.")), key=len)
    return Declared(_name_of(metric), family.type, labels, family.documentation, PROCESSES[prefix])


def _name_of(metric: MetricWrapperBase) -> str:
    """Return the name under which a metric is exposed: the family of a counter leaves out `_total`."""
    [family] = metric.describe()
    return f"{family.name}_total" if family.type == "counter" else family.name


def page() -> str:
    """The whole page."""
    parts = [_TOP]
    process = ""
    for metric in declared():
        if metric.process != process:
            process = metric.process
            parts.append(f"\n## {process[0].upper()}{process[1:]}\n\n{_HEAD}")
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        parts.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |\n")
    return "".join(parts)


def _modules() -> Iterator[ModuleType]:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                yield importlib.import_module(module.name)


def main() -> int:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
