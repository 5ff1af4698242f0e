"""
The pages of a worker's web server, which show all roles of its process.

The server has no authentication, and so listens on loopback unless the settings name another address.

Faust's own pages are off. Its `/` counts messages, which are chunks here, so ours counts the events too. Its `/assignment/`,
which ours replaces, and its `/router/` read Faust's own assignor, which a worker without tables does not use: both would always
be empty. `/table/` shows data; `/graph/` needs Graphviz, and draws the inside of Faust; the lag of `/performance/` is one too
many for every partition.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

import msgspec
from faust.web import Request, Response, View
from markupsafe import Markup
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from outbox.offsets import Offsets
from outbox.rights import MISSING
from runtime.heartbeat import liveness
from runtime.kafka import Cluster
from runtime.schema import SchemaWatch
from streams import dashboard
from streams.member import Member
from streams.progress import Held, expose, read_all
from streams.transport import App
from streams.unreadable import UNREADABLE
from topology.page import CONTENT_SECURITY, HyperLink, render
from topology.survey import Survey
from topology.view import Topology, around

_PATIENCE: Final = timedelta(seconds=3)
_HEADERS: Final = {"Cache-Control": "no-store", "Vary": "Accept"}
_FOOTER: Final = Markup(
    "These pages have no authentication: keep them on loopback or a private address. "
    'Also here: <a href="/">what the agents do</a>, <a href="/metrics">/metrics</a> for Prometheus, '
    '<a href="/health/ready">/health/ready</a>, '
    '<a href="/assignment/">/assignment/</a> with the partitions of this process. Lag is the end offset minus the committed one.'
)


class Process(msgspec.Struct, frozen=True, rename="camel"):
    """The process that answers, its roles and the partitions that it has."""

    workers: list[str]
    pid: int
    partitions: list[Held]


class WorkerTopology(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of a worker's `/topology`: the system around its roles, and its own process."""

    process: Process
    topology: Topology


def add_pages(process: str, members: Sequence[Member], kafka: Cluster, schema: SchemaWatch) -> None:
    """Register the pages of all members with the web of the first; no server is queried before a page is opened."""
    web = members[0].app
    _add_health(web, process, members, schema)
    _add_agents(web, process, members)
    _add_topology(web, members, Survey(Offsets(kafka, _PATIENCE)))


async def _held(members: Sequence[Member]) -> list[Held]:
    return await read_all(member.progress for member in members)


def _add_health(web: App, process: str, members: Sequence[Member], schema: SchemaWatch) -> None:
    joined: set[str] = set()

    async def join(name: str, *_: Any, **__: Any) -> None:
        joined.add(name)

    for member in members:
        member.app.on_partitions_assigned.connect(partial(join, member.name))

    @web.page("/metrics")
    async def metrics(self: View, _: Request) -> Response:
        expose(await _held(members))
        return self.bytes(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @web.page("/health/live")
    async def live(self: View, _: Request) -> Response:
        state = liveness(heartbeat for member in members for heartbeat in member.tools.heartbeats)
        return self.json(state, status=200 if state["live"] else 503)

    @web.page("/health/ready")
    async def ready(self: View, _: Request) -> Response:
        states = {member.name: _state(member.app, joined=member.name in joined) for member in members}
        reasons = {} if schema.unfit else next((_why(each) for each in states.values() if "reason" in each), {})
        answer = {"process": process} | schema.fields() | reasons
        fit = "reason" not in answer
        answer |= {"ready": fit, "partitions": sum(each["partitions"] for each in states.values()), "workers": states}
        return self.json(answer, status=200 if fit else 503)


def _state(app: App, *, joined: bool) -> Mapping[str, Any]:
    """The readiness of one role, with its reason where it is not ready."""
    if app.should_stop:
        return {"ready": False, "partitions": 0, "reason": "stopping"}
    if missing := app.rights.missing:
        return {"ready": False, "partitions": 0, "reason": MISSING, "detail": missing}
    if not joined:
        return {"ready": False, "partitions": 0, "reason": "group_joining"}
    partitions = len(app.consumer.assignment())
    if detail := app.unreadable.detail:
        return {"ready": False, "partitions": partitions, "reason": UNREADABLE, "detail": detail}
    return {"ready": True, "partitions": partitions}


def _why(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in ("reason", "detail") if name in state}


def _add_agents(web: App, process: str, members: Sequence[Member]) -> None:
    async def read() -> dashboard.Dashboard:
        return dashboard.read(members, await _held(members))

    @web.page("/")
    async def agents(self: View, request: Any) -> Response:
        found = await read()
        if not _wants_page(request):
            return _json(self, found)
        return _html(self, dashboard.render(found, process))

    @web.page("/agents.json")
    async def agents_json(self: View, _: Any) -> Response:
        return _json(self, await read())


def _add_topology(web: App, members: Sequence[Member], survey: Survey) -> None:
    names = [member.name for member in members]

    async def read(request: Any) -> WorkerTopology:
        seen, scope = await survey.now(), request.query.get("scope")
        if scope != "system":
            seen = around(seen, *([scope] if scope in names else names))
        return WorkerTopology(Process(names, os.getpid(), await _held(members)), seen)

    @web.page("/topology")
    async def topology(self: View, request: Any) -> Response:
        found = await read(request)
        if not _wants_page(request):
            return _json(self, found, _status(found))
        return _html(self, _page(found, request.query.get("scope")), _status(found))

    @web.page("/topology.json")
    async def topology_json(self: View, request: Any) -> Response:
        found = await read(request)
        return _json(self, found, _status(found))

    @web.page("/assignment/")
    async def assignment(self: View, _: Any) -> Response:
        held = await _held(members)
        workers = {name: _by_topic(each for each in held if each.worker == name) for name in names}
        return self.json({"actives": _by_topic(held), "standbys": {}, "workers": workers})


def _by_topic(held: Iterable[Held]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place in held:
        found.setdefault(place.topic, []).append(place.partition)
    return found


def _wants_page(request: Any) -> bool:
    return "text/html" in request.headers.get("Accept", "")


def _json(view: View, found: msgspec.Struct, status: int = 200) -> Response:
    return view.bytes(msgspec.json.encode(found), status=status, content_type="application/json", headers=_HEADERS)


def _html(view: View, page: str, status: int = 200) -> Response:
    return view.html(page, status=status, headers=_HEADERS | {"Content-Security-Policy": CONTENT_SECURITY})


def _status(found: WorkerTopology) -> int:
    """Return 503 while Kafka does not answer: the graph then shows only what is declared."""
    return 200 if found.topology.kafka.live else 503


def _page(found: WorkerTopology, scope: str | None) -> str:
    names = found.process.workers
    shown = [] if scope == "system" else [scope] if scope in names else names
    title = f"{', '.join(shown)} {'worker' if len(shown) == 1 else 'workers'}" if shown else "the whole system"
    others = [HyperLink(name, f"/topology?scope={name}") for name in names if [name] != shown]
    system = [HyperLink("the whole system", "/topology?scope=system")] if shown else []
    return render(
        found.topology,
        title=title,
        focus=frozenset(shown or names),
        mine=frozenset((held.topic, held.partition) for held in found.process.partitions),
        links=(HyperLink("agents", "/"), *others, *system, HyperLink("JSON", "/topology.json"), HyperLink("metrics", "/metrics")),
        footer=_FOOTER,
    )
