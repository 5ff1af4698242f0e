"""Streams: the path of events from the callers to the workers, with outbox, relay, and lag by worker and partition."""

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from console.pages import Screen, page, span
from gateway.postgres import reading
from operations.overview import store
from operations.overview.store import Overview
from operations.topology.routes import SURVEY
from schemas.providers import NAMES
from schemas.topics import Topic
from topology.drawing import OUTBOX, Station, Way, draw
from topology.figures import readings, tiles
from topology.levels import MUCH, Level, level_of, short
from topology.survey import SAMPLED, Sample, Survey
from topology.view import Topology

if TYPE_CHECKING:
    from datetime import datetime

_LATE: Final = 60.0  # seconds that an event may wait for Kafka in normal operation
_PAGES: Final = {
    "partners": "/console/deliveries?source=partner",
    "crms": "/console/partners",
    "channels": "/console/notifications",
    "services": "/console/settings/audit?actor=service",
    "gateway": "/console/deliveries",
    OUTBOX: "/console/deliveries?settled=inFlight",
    "relay": "/console/overview",
    Topic.DEAD_LETTERS: "/console/dead-letters",
    Topic.ALERTS: "/console/overview",
    Topic.CONFIG: "/console/settings/config/history",
}
"""The pages of the boxes of the drawing that have their own page."""
_GAP: Final = 3 * SAMPLED
"""If two samples are further apart, nobody viewed the page meanwhile, and the line of the chart has a gap."""


async def streams(request: web.Request) -> web.Response:
    """Show the page, whose parts query Postgres and Kafka."""
    return page(request, "streams.html")


async def now(request: web.Request) -> web.Response:
    """Show the drawing with the present figures; while Kafka does not answer, a notice and the declared graph."""
    async with reading(request) as connection:
        state = await store.overview(connection)
    seen = await request.app[SURVEY].now()
    way = way_of(state)
    return page(
        request,
        "_streams.html",
        topology=seen,
        way=way,
        drawing=draw(seen, way=way),
        pages=pages_of(seen),
        focus=frozenset(),
        tiles=tiles(seen),
        readings=readings(seen),
        much=MUCH,
    )


async def lag(request: web.Request) -> web.Response:
    """Show the lag of each worker over the last minutes."""
    survey = request.app[SURVEY]
    seen = await survey.now()
    titles = {agent.name: agent.title for agent in seen.agents if agent.kind == "worker"}
    return page(request, "_streams_lag.html", chart=chart_of(survey, titles), kafka=seen.kafka)


async def partitions(request: web.Request) -> web.Response:
    """Show the read progress of each partition."""
    seen = await request.app[SURVEY].now()
    titles = {agent.name: agent.title for agent in seen.agents}
    return page(request, "_streams_partitions.html", topology=seen, titles=titles, level_of=level_of)


def pages_of(topology: Topology) -> dict[str, str]:
    """Return the link of every box: to its own screen, or to its part of this one."""
    readers = {edge.source: edge.target for edge in topology.edges if edge.tie == "consumes"}
    feeders = {edge.target: edge.source for edge in topology.edges if edge.tie == "feeds"}
    workers = {agent.name for agent in topology.agents if agent.kind == "worker"}
    found = {topic.name: "#partitions" for topic in topology.topics}
    found |= {name: f"#worker-{name}" for name in workers}
    found |= {name: f"#worker-{worker}" for name, worker in (feeders | readers).items() if worker in workers}
    return found | {name: f"/console/deliveries?source={name}" for name in NAMES} | _PAGES


def way_of(state: Overview) -> Way:
    """Return the state of the outbox and the relay for the drawing."""
    waiting, oldest = state.pending.waiting, state.pending.oldest
    waits = (state.at - oldest).total_seconds() if oldest else 0.0
    level: Level = "much" if waits > _LATE or state.pending.parked else "some" if waiting else "none"
    note = f"{short(waiting)} wait, {span(waits)}" if oldest else "nothing waits"
    if state.pending.parked:
        note = f"{short(state.pending.parked)} parked"
    relays = state.relay.relays
    held: Level = "stopped" if not relays else "some" if state.relay.shards < state.relay.of else "none"
    shared = f"{relays} {'process' if relays == 1 else 'processes'}, {state.relay.shards}/{state.relay.of}"
    return Way(Station(note, level, short(waiting) if waiting else ""), Station(shared if relays else "no process runs", held))


def chart_of(survey: Survey, titles: dict[str, str]) -> dict[str, Any]:
    """Return the samples for the chart; lines have a gap while Kafka did not answer or nobody viewed the page."""
    times: list[datetime] = []
    columns: list[list[int | None]] = [[] for _ in titles]

    def add(sample: Sample) -> None:
        times.append(sample.at)
        for name, column in zip(titles, columns, strict=True):
            column.append(sample.lags.get(name))

    for sample in survey.samples:
        if times and sample.at - times[-1] > _GAP:
            add(Sample(times[-1] + SAMPLED, {}))
        add(sample)
    return {"names": [*titles.values()], "columns": [[at.timestamp() for at in times], *columns]}


SCREEN: Final = Screen(
    "Streams",
    "/console/streams",
    (
        web.get("/streams", streams, name="console_streams"),
        web.get("/streams/now", now, name="console_streams_now"),
        web.get("/streams/lag", lag, name="console_streams_lag"),
        web.get("/streams/partitions", partitions, name="console_streams_partitions"),
    ),
)
