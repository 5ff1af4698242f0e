"""Every process exposes exactly the metrics that docs/metrics.md lists for it, so rules and dashboard find their series."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from ops import metrics_page
from ops.dev.processes import SINK
from tests.sender import post_stripe
from tests.simulators import stripe

if TYPE_CHECKING:
    import aiohttp

    from tests.system import System


def processes_of(place: str, names: set[str]) -> set[str]:
    """Return the processes that an entry of the page names: `every worker`, `worker leads`, `relay`, or several of them."""
    if place == "every process":
        return names
    if place == "every worker":
        return {name for name in names if name.startswith("worker-")}
    return {each.replace(" ", "-") for each in place.split(", ")}


async def test_each_process_exposes_its_metrics_and_no_others(system: System, http: aiohttp.ClientSession) -> None:
    webs = {state.name: state.web for state in system.states if state.name != SINK} | {"gateway": system.internal}
    expected: dict[str, set[str]] = {name: set() for name in webs}
    for metric in metrics_page.declared():
        for name in processes_of(metric.process, {*webs}):
            expected[name].add(metric.name)
    for name, web in webs.items():
        async with http.get(f"{web}/metrics") as answer:
            text = await answer.text()
        families = dict(re.findall(r"^# TYPE (tallyhook_\w+) (\w+)$", text, re.MULTILINE))
        exposed = {family for family in families if not family.endswith("_created")}
        assert exposed >= expected[name], name
        assert exposed <= {metric.name for metric in metrics_page.declared()}, name
        assert {"process_open_fds", "process_max_fds", "process_cpu_seconds_total", "process_resident_memory_bytes"} <= {
            *re.findall(r"^(process_\w+) ", text, re.MULTILINE)
        }
        assert re.search(rf'^tallyhook_build_info{{[^}}]*process="{name}"[^}}]*}} 1.0$', text, re.MULTILINE), name


async def test_a_source_that_is_refused_shows_until_it_is_taken_again(system: System, http: aiohttp.ClientSession) -> None:
    async def value(metric: str) -> float:
        async with http.get(f"{system.internal}/metrics") as answer:
            return float(
                re.search(rf'^{metric}{{(?:endpoint="",)?source="stripe"}} (\S+)$', await answer.text(), re.MULTILINE)[1]
            )

    assert await value("tallyhook_source_gives_up_seconds") == 259_200
    await post_stripe(http, system.public, b"{}", secret="whsec_of_somebody_else")
    assert await value("tallyhook_source_refusing_seconds") > 0
    await post_stripe(http, system.public, stripe.Payment().created(int(time.time())))
    assert await value("tallyhook_source_refusing_seconds") == 0
