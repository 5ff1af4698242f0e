"""
The pages of a worker's web. It has no authentication, and so listens on loopback unless it is set otherwise.

Faust's own pages are off. Its `/` counts messages, which are chunks here, so ours counts the events too. `/assignment/`, which is
ours as well, and `/router/` read its own assignor, which a worker without tables does not use: both would always be empty.
`/table/` shows data; `/graph/` needs Graphviz, and draws the inside of Faust; the lag of `/performance/` is one too many for
every partition.
"""

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

import msgspec
from faust.web import Request, Response, View
from markupsafe import Markup
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from outbox.offsets import Offsets
from runtime.heartbeat import Heartbeat, liveness
from runtime.schema import SchemaWatch
from streams import dashboard
from streams.progress import Held, Progress
from streams.role import Role
from streams.settings import StreamSettings
from streams.transport import App
from topology.page import CONTENT_SECURITY, HyperLink, render
from topology.survey import Survey
from topology.view import Topology, around

_PATIENCE: Final = timedelta(seconds=3)
_HEADERS: Final = {"Cache-Control": "no-store", "Vary": "Accept"}
_FOOTER: Final = Markup(
    "These pages have no authentication: keep them on loopback or a private address. "
    'Also here: <a href="/">what the agents do</a>, <a href="/metrics">/metrics</a> for Prometheus, '
    '<a href="/health/ready">/health/ready</a>, '
    '<a href="/assignment/">/assignment/</a> with the partitions of this process. Lag is the end less what is committed.'
)


class Process(msgspec.Struct, frozen=True, rename="camel"):
    """The process that answers, and the partitions that it has."""

    worker: str
    pid: int
    partitions: list[Held]


class WorkerTopology(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of a worker's `/topology`: the system around its role, and its own process."""

    process: Process
    topology: Topology


def add_pages(
    app: App, role: Role, settings: StreamSettings, heartbeats: Callable[[], Iterable[Heartbeat]], schema: SchemaWatch
) -> None:
    """Register the pages; no server is queried before a page is opened."""
    progress = Progress(app, role.name)
    _add_health(app, progress, heartbeats, schema, f"worker-{role.name}")
    _add_agents(app, role, progress)
    _add_topology(app, role, progress, Survey(Offsets(settings.kafka, _PATIENCE)))


def _add_health(
    app: App, progress: Progress, heartbeats: Callable[[], Iterable[Heartbeat]], schema: SchemaWatch, process: str
) -> None:
    group = {"joined": False}

    @app.on_partitions_assigned.connect
    async def assigned(*_: Any, **__: Any) -> None:
        group["joined"] = True

    @app.page("/metrics")
    async def metrics(self: View, _: Request) -> Response:
        await progress.expose()
        return self.bytes(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.page("/health/live")
    async def live(self: View, _: Request) -> Response:
        state = liveness(heartbeats())
        return self.json(state, status=200 if state["live"] else 503)

    @app.page("/health/ready")
    async def ready(self: View, _: Request) -> Response:
        answer = {"process": process} | schema.fields()
        if not schema.unfit and (app.should_stop or not group["joined"]):
            answer["reason"] = "stopping" if app.should_stop else "group_joining"
        fit = "reason" not in answer
        answer |= {"ready": fit, "partitions": len(app.consumer.assignment()) if fit else 0}
        return self.json(answer, status=200 if fit else 503)


def _add_agents(app: App, role: Role, progress: Progress) -> None:
    async def look() -> dashboard.Dashboard:
        return dashboard.look(app, role.name, await progress.read())

    @app.page("/")
    async def agents(self: View, request: Any) -> Response:
        found = await look()
        if not _wants_page(request):
            return _json(self, found)
        return _html(self, dashboard.render(found))

    @app.page("/agents.json")
    async def agents_json(self: View, _: Any) -> Response:
        return _json(self, await look())


def _add_topology(app: App, role: Role, progress: Progress, survey: Survey) -> None:
    async def look(request: Any) -> WorkerTopology:
        seen = await survey.now()
        seen = seen if request.query.get("scope") == "system" else around(seen, role.name)
        return WorkerTopology(Process(role.name, os.getpid(), await progress.read()), seen)

    @app.page("/topology")
    async def topology(self: View, request: Any) -> Response:
        found = await look(request)
        if not _wants_page(request):
            return _json(self, found, _status(found))
        return _html(self, _page(found, role, whole=request.query.get("scope") == "system"), _status(found))

    @app.page("/topology.json")
    async def topology_json(self: View, request: Any) -> Response:
        found = await look(request)
        return _json(self, found, _status(found))

    @app.page("/assignment/")
    async def assignment(self: View, _: Any) -> Response:
        found: dict[str, list[int]] = {}
        for held in await progress.read():
            found.setdefault(held.topic, []).append(held.partition)
        return self.json({"actives": found, "standbys": {}})


def _wants_page(request: Any) -> bool:
    return "text/html" in request.headers.get("Accept", "")


def _json(view: View, found: msgspec.Struct, status: int = 200) -> Response:
    return view.bytes(msgspec.json.encode(found), status=status, content_type="application/json", headers=_HEADERS)


def _html(view: View, page: str, status: int = 200) -> Response:
    return view.html(page, status=status, headers=_HEADERS | {"Content-Security-Policy": CONTENT_SECURITY})


def _status(found: WorkerTopology) -> int:
    """Return 503 without Kafka: the graph is still the declared one, but it is not live."""
    return 200 if found.topology.kafka.live else 503


def _page(found: WorkerTopology, role: Role, *, whole: bool) -> str:
    other = (
        HyperLink(f"the {role.name} worker", "/topology") if whole else HyperLink("the whole system", "/topology?scope=system")
    )
    return render(
        found.topology,
        title="the whole system" if whole else f"{role.name} worker",
        focus=role.name,
        mine=frozenset((held.topic, held.partition) for held in found.process.partitions),
        links=(HyperLink("agents", "/"), other, HyperLink("JSON", "/topology.json"), HyperLink("metrics", "/metrics")),
        footer=_FOOTER,
    )
