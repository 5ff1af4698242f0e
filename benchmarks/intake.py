"""Durable acknowledgements a second through HTTP, over what pgbench commits a second on the same Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks import load, pgbench, wrk
from benchmarks.beside import beside
from benchmarks.bodies import write_requests
from benchmarks.figures import Aim, Figure, Result, Void, expect, median, percentile, ratio
from benchmarks.system import System, system

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.scale import Scale
    from benchmarks.system import Report

CONNECTIONS: Final = 64
_TABLES: Final = ("dedup", "outbox", "outbox_pending", "webhook_deliveries")
_FIRST_GUESS: Final = 20_000.0  # requests a second that the warm-up is given enough of
_SPARE: Final = 2.0  # a round may be so much faster than the one before
_GRACE: Final = 60.0  # seconds


class Round(NamedTuple):
    """One round of the gateway; latencies in seconds."""

    rate: float
    p50: float
    p99: float


def run(scale: Scale, report: Report) -> Result:
    seconds = scale.seconds(10)
    gateway: list[Round] = []
    transactions: list[float] = []
    statements: list[float] = []
    with system("postgres", "kafka", "redis", report=report) as ours:
        report("intake", "warming up")
        rate = _through_http(ours, max(1.0, seconds / 5), _FIRST_GUESS).rate
        for script in (pgbench.TRANSACTION, pgbench.STATEMENT):
            _through_pgbench(ours, script, max(1.0, seconds / 5))
        for number in range(1, scale.rounds + 1):
            report("intake", f"round {number} of {scale.rounds}: through HTTP")
            gateway.append(_through_http(ours, seconds, _SPARE * rate))
            rate = max(rate, gateway[-1].rate)
            report("intake", f"round {number} of {scale.rounds}: pgbench")
            transactions.append(_through_pgbench(ours, pgbench.TRANSACTION, seconds))
            statements.append(_through_pgbench(ours, pgbench.STATEMENT, seconds))
    note = f"load: {_generator()}, {CONNECTIONS} connections, {seconds:g} s a round; relay and worker do not run"
    return Result("intake", _figures(gateway, transactions, statements), [note])


def _figures(gateway: list[Round], transactions: list[float], statements: list[float]) -> list[Figure]:
    rates = [each.rate for each in gateway]
    return [
        ratio("acknowledged ÷ pgbench, transactions", rates, transactions, Aim(at_least=1.3)),
        ratio("acknowledged ÷ pgbench, single statements", rates, statements),
        median("acknowledged", rates, "events/s"),
        median("pgbench: begin, four inserts, commit", transactions, "events/s"),
        median("pgbench: the four rows in one statement", statements, "events/s"),
        median("answer p50", [each.p50 * 1000 for each in gateway], "ms"),
        median("answer p99", [each.p99 * 1000 for each in gateway], "ms", Aim(at_most=15)),
    ]


def _through_http(ours: System, seconds: float, highest_rate: float) -> Round:
    ours.empty()
    requests = ours.stack.data_dir / "requests"
    host, port = ours.public
    number = int(highest_rate * seconds) + CONNECTIONS
    write_requests(requests, number, ours.settings["STRIPE_WEBHOOK_SECRET"], f"{host}:{port}")
    plan = load.Plan(requests, ours.public, CONNECTIONS, seconds)
    done = _by_wrk(ours, plan) if wrk.is_installed() else _by_our_own(ours, plan)
    if _stored(ours) >= number:
        raise Void(f"all {number:,} requests were sent before the time was over")
    return done


def _by_wrk(ours: System, plan: load.Plan) -> Round:
    with ours.running("gateway"):
        seen = wrk.send(plan)
    expect("requests that failed or were refused", seen.failed + seen.refused, 0)
    stored = _stored(ours)
    # wrk leaves while up to one request a connection is under way; each of those may be committed or not.
    if not seen.requests <= stored <= seen.requests + plan.connections:
        raise Void(f"rows of intake: {stored:,} where {seen.requests:,} were acknowledged")
    return Round(seen.rate, seen.p50 / 1e6, seen.p99 / 1e6)


def _by_our_own(ours: System, plan: load.Plan) -> Round:
    with ours.running("gateway"), beside(load.send, plan) as answers_within:
        answers = answers_within((plan.seconds or 0) + _GRACE)
    expect("requests that were refused", answers.refused, 0)
    expect("rows of intake", _stored(ours), answers.acknowledged)
    ordered = sorted(answers.latencies)
    return Round(answers.rate, percentile(ordered, 0.5), percentile(ordered, 0.99))


def _through_pgbench(ours: System, script: Path, seconds: float) -> float:
    ours.empty()
    reached = pgbench.run(ours, script, CONNECTIONS, seconds)
    expect("transactions that failed", reached.failed, 0)
    expect("rows of pgbench", _stored(ours), reached.transactions)
    return reached.rate


def _stored(ours: System) -> int:
    """Count the rows of each table of intake; the counts must agree."""
    counts = {table: ours.count(table) for table in _TABLES}
    if len(set(counts.values())) > 1:
        raise Void(f"the tables of intake disagree: {counts}")
    return counts["dedup"]


def _generator() -> str:
    return "wrk" if wrk.is_installed() else "our own client (wrk is not installed)"
