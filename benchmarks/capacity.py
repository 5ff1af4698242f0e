"""The machines that 1,000 and more events a second need, calculated from the costs of one event, which `whole` measures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks import saved
from benchmarks.figures import Void
from outbox.shards import SHARDS
from schemas.topics import TOPICS, Topic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.saved import Report

PAGE: Final = Path(__file__).parents[1] / "docs/scale.md"
_BEGIN: Final = "<!-- capacity: written by `./dev bench capacity --write` -->"
_END: Final = "<!-- end of capacity -->"

RATES: Final = (1_000, 10_000, 100_000)
_SIDE: Final = "this release"
_BUSY: Final = 0.7  # the planned part of a core; the rest is for bursts and for catching up
_PRIMARY_CORES: Final = 16
_PRIMARY_WAL: Final = 150.0  # MB a second
_BROKER_CORES: Final = 8
_BROKER_WRITES: Final = 100.0  # MB a second, copies included
_COPIES: Final = 3
_DAY: Final = 86_400


class Costs(NamedTuple):
    """The costs of one event: milliseconds of processor time by process, and kilobytes written."""

    processor: dict[str, float]
    wal: float
    topics: float
    origin: str = ""
    """One sentence: when and where they were measured, and whether they are reliable."""


class Limit(NamedTuple):
    """A part of the system, the events a second at which it is full, and the remedy."""

    what: str
    rate: float
    splits: str


def measured_costs(report: Report | None = None) -> Costs:
    """Return the costs of this run of `whole`, or of the last saved one. Raises Void if there is none, or if it is void."""
    report = report or saved.load("whole")
    if report is None or not report.results[0].figures:
        raise Void("no run of `whole` is saved: run `./dev bench whole --write`")
    found = {f.name.removeprefix(f"{_SIDE}: "): f for f in report.results[0].figures if f.name.startswith(f"{_SIDE}: ")}
    processor = {name: each.value for name, each in found.items() if each.unit == "ms/event" and " " not in name}
    return Costs(processor, found["written to the WAL"].value, found["written to topics"].value, f"Measured {report.origin}")


def processes(costs: Costs, name: str, rate: float) -> int:
    """Return the processes of a kind that the rate needs; each uses one core at most."""
    return _whole(rate / _most(costs, name))


def primaries(costs: Costs, rate: float) -> int:
    return _whole(rate / min(_primary_by_cores(costs), _primary_by_wal(costs)))


def brokers(costs: Costs, rate: float) -> int:
    """Return the brokers needed: at least one for each copy."""
    return max(_COPIES, _whole(rate / min(_broker_by_cores(costs), _broker_by_writes(costs))))


def partitions(costs: Costs, rate: float) -> int:
    """Return the partitions of a provider's topic: at least one for each worker, and not fewer than it has today."""
    return max(TOPICS[Topic.WEBHOOKS_STRIPE].partitions, processes(costs, "worker-payments", rate))


def limits(costs: Costs) -> list[Limit]:
    """Return the limits in the order of their rates."""
    here = TOPICS[Topic.WEBHOOKS_STRIPE].partitions
    found = [
        Limit("one gateway", _most(costs, "gateway"), "another gateway behind the load balancer"),
        Limit("one relay", _most(costs, "relay"), "another relay: they share the shards"),
        Limit("one payments worker", _most(costs, "worker-payments"), "another worker: they share the partitions"),
        Limit("one notifications worker", _most(costs, "worker-notifications"), "another worker: they share the partitions"),
        Limit(f"{here} partitions of a topic", here * _most(costs, "worker-payments"), "more partitions"),
        Limit(f"a primary of {_PRIMARY_CORES} cores", _primary_by_cores(costs), "a cell of its own for a source or a region"),
        Limit(f"a primary's WAL of {_PRIMARY_WAL:g} MB/s", _primary_by_wal(costs), "likewise, or a faster disk"),
        Limit(f"{_COPIES} brokers' cores", _COPIES * _broker_by_cores(costs), "more brokers: partitions move to them"),
        Limit(f"{_COPIES} brokers' disks", _COPIES * _broker_by_writes(costs), "likewise"),
        Limit(f"{SHARDS} relays of a database", SHARDS * _most(costs, "relay"), "another outbox database"),
    ]
    return sorted(found, key=lambda each: each.rate)


def tables(costs: Costs) -> str:
    """Return the tables of the page as Markdown."""
    kinds = {"gateways": "gateway", "relays": "relay"}
    kinds |= {"payments workers": "worker-payments", "notifications workers": "worker-notifications"}
    rows = [[title, *(f"{processes(costs, name, rate):,}" for rate in RATES)] for title, name in kinds.items()]
    rows += [
        ["partitions of a provider's topic", *(f"{partitions(costs, rate):,}" for rate in RATES)],
        ["Kafka brokers", *(f"{brokers(costs, rate):,}" for rate in RATES)],
        ["written to each copy of the topics", *(f"{rate * costs.topics / 1000:,.1f} MB/s" for rate in RATES)],
        ["cores of Postgres, in all", *(f"{processes(costs, 'postgres', rate):,}" for rate in RATES)],
        ["written to the WAL, in all", *(f"{rate * costs.wal / 1000:,.1f} MB/s" for rate in RATES)],
        ["Postgres primaries", *(f"{primaries(costs, rate):,}" for rate in RATES)],
        ["WAL of a day", *(f"{rate * costs.wal * _DAY / 1e9:,.1f} TB" for rate in RATES)],
    ]
    one = [[name, f"{value:.3f} ms"] for name, value in costs.processor.items()]
    one += [["written to the WAL", f"{costs.wal:.2f} KB"], ["written to topics, one copy", f"{costs.topics:.2f} KB"]]
    ends = [[each.what, f"{each.rate:,.0f}", each.splits] for each in limits(costs)]
    return "\n\n".join(
        [
            costs.origin,
            _table(("an event costs", ""), one),
            _table(("events a second", *(f"{rate:,}" for rate in RATES)), rows),
            _table(("limit", "events a second", "what splits it"), ends),
        ]
    )


def tables_on_page() -> str:
    """Return the tables that are on the page."""
    return PAGE.read_text().partition(_BEGIN)[2].partition(_END)[0].strip()


def write(text: str) -> None:
    """Write the tables to the page, between their markers."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    PAGE.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{rest.partition(_END)[2]}")


def _whole(number: float) -> int:
    """Round the number up, but ignore the inexact last digits of a float."""
    return math.ceil(round(number, 6))


def _most(costs: Costs, name: str) -> float:
    """Return the events a second of one process of a kind."""
    return 1000 * _BUSY / costs.processor[name]


def _primary_by_cores(costs: Costs) -> float:
    return _PRIMARY_CORES * _most(costs, "postgres")


def _primary_by_wal(costs: Costs) -> float:
    return _PRIMARY_WAL * 1000 / costs.wal


def _broker_by_cores(costs: Costs) -> float:
    """Return a broker's rate; the model assumes that each further copy costs as much processor time as the first."""
    return _BROKER_CORES * _most(costs, "kafka") / _COPIES


def _broker_by_writes(costs: Costs) -> float:
    return _BROKER_WRITES * 1000 / (_COPIES * costs.topics)


def _table(head: tuple[str, ...], rows: Iterable[list[str]]) -> str:
    lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
