"""The first page of a worker's web: live figures of its roles and their agents."""

import os
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
from prometheus_client import Counter, Gauge

from streams import metrics
from streams.member import Member
from streams.monitor import Tally
from streams.progress import Held
from topology.levels import level_of, short
from topology.page import HyperLink

if TYPE_CHECKING:
    from jinja2 import Environment

_LINKS: Final = (
    HyperLink("topology", "/topology"),
    HyperLink("assignment", "/assignment/"),
    HyperLink("metrics", "/metrics"),
    HyperLink("JSON", "/agents.json"),
)


class AgentFigures(msgspec.Struct, frozen=True, rename="camel"):
    """One agent of this process: totals since it began, rates over the last 10 s, times of the last 1,000 chunks in seconds."""

    name: str
    chunks: int
    events: int
    chunks_per_second: float
    events_per_second: float
    in_hand: int
    """Events that it has taken from its stream and not acknowledged."""
    p50: float | None
    p99: float | None
    partitions: int
    lag: int


class WorkerFigures(msgspec.Struct, frozen=True, rename="camel"):
    """The figures of one role; those from its metrics count the events of all its agents together."""

    worker: str
    waiting: bool
    """True while it waits for a server that does not answer."""
    in_hand: int
    """Events that were fetched and are not acknowledged."""
    handled: int
    repeated: int
    retries: int
    dead_letters: int
    rebalances: int
    agents: list[AgentFigures]

    @property
    def lag(self) -> int:
        """Records that the role has yet to commit in this process."""
        return sum(agent.lag for agent in self.agents)

    @property
    def rate(self) -> float:
        """Events a second of all agents."""
        return sum(agent.events_per_second for agent in self.agents)


class Dashboard(msgspec.Struct, frozen=True, rename="camel"):
    """The figures of one worker's process, by its roles."""

    pid: int
    workers: list[WorkerFigures]

    def total(self, figure: str) -> Any:
        """A figure of the roles, over all of them."""
        return sum(getattr(worker, figure) for worker in self.workers)


def read(members: Iterable[Member], held: Sequence[Held]) -> Dashboard:
    """Read the figures of the process, with the partitions that it has."""
    return Dashboard(os.getpid(), [_role(member, [each for each in held if each.worker == member.name]) for member in members])


def _role(member: Member, held: list[Held]) -> WorkerFigures:
    worker, app, monitor = member.name, member.app, member.app.monitor
    return WorkerFigures(
        worker=worker,
        waiting=bool(_total(metrics.BLOCKED, worker)),
        in_hand=app.consumer.in_hand.records,
        handled=_total(metrics.HANDLED, worker),
        repeated=_total(metrics.REPEATED, worker),
        retries=_total(metrics.RETRIED, worker),
        dead_letters=_total(metrics.DEAD_LETTERED, worker),
        rebalances=monitor.rebalances,
        agents=[_figures(name, monitor.tallies.get(app.kafka.named(name), Tally()), held, monitor.time()) for name in app.agents],
    )


def render(dashboard: Dashboard, title: str) -> str:
    """Return the page, which refreshes itself every few seconds."""
    template = _environment().get_template("agents.html")
    return template.render(now=dashboard, title=title, links=_LINKS, level_of=level_of, short=short, seconds=_seconds)


def _figures(name: str, tally: Tally, held: list[Held], now: float) -> AgentFigures:
    places = [place for place in held if place.topic == name]
    chunks, events = tally.rates(now)
    return AgentFigures(
        name=name,
        chunks=tally.chunks,
        events=tally.events,
        chunks_per_second=chunks,
        events_per_second=events,
        in_hand=tally.in_hand,
        p50=tally.took(0.5),
        p99=tally.took(0.99),
        partitions=len(places),
        lag=sum(place.lag for place in places),
    )


def _total(metric: Counter | Gauge, worker: str) -> int:
    samples = (sample for family in metric.collect() for sample in family.samples)
    return int(sum(s.value for s in samples if s.labels.get("worker") == worker and not s.name.endswith("_created")))


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


@cache
def _environment() -> "Environment":
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  # a worker starts without its pages

    loader = ChoiceLoader([PackageLoader("streams"), PackageLoader("topology")])
    return Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True)
