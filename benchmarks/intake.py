"""
Durable acknowledgements a second through HTTP, as ratios to the commits of pgbench on the same Postgres and to a bare handler.

pgbench writes one event in each transaction, with the same rows as intake. `wrk` makes the load if it is installed: it leaves
more of the cores to the measured processes than any Python client.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from benchmarks import bare_handler, load
from benchmarks.bodies import make_bodies, write_requests
from benchmarks.figures import Aim, Figure, Result, Void, cpu_seconds_of_all, expect, median, percentile, ratio
from benchmarks.other_process import WorkFailed, in_other_process
from benchmarks.system import BARE_HANDLER, TWO_PROCESSES, System, system
from schemas.stripe import DATASCHEMA

if TYPE_CHECKING:
    from benchmarks.figures import Scale
    from benchmarks.load import Plan
    from benchmarks.system import Report, System

_SCRIPT: Final = Path(__file__).with_name("wrk.lua")


class Seen(msgspec.Struct, frozen=True):
    """The counts of wrk; times in microseconds. At its end it drops the requests in flight, which may still be committed."""

    requests: int
    microseconds: int
    failed: int
    refused: int
    p50: int
    p99: int
    longest: int

    @property
    def rate(self) -> float:
        return (self.requests - self.refused) / self.microseconds * 1_000_000


def _has_wrk() -> bool:
    return shutil.which("wrk") is not None


def _send_by_wrk(plan: Plan) -> Seen:
    """Run wrk for the plan's seconds as a closed loop, on one thread."""
    host, port = plan.address
    words = ["-t1", f"-c{plan.connections}", f"-d{plan.seconds:.0f}s", "--timeout", "30s", "-s", str(_SCRIPT)]
    done = subprocess.run(
        [shutil.which("wrk") or "wrk", *words, f"http://{host}:{port}", "--", str(plan.requests)],
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode or not last.startswith("{"):
        raise WorkFailed(f"wrk: {(done.stderr or done.stdout).strip()[-500:]}")
    return msgspec.json.decode(last, type=Seen)


STATEMENT: Final = Path(__file__).with_name("intake_statement.sql")
"""All four rows in one statement, in autocommit: the fastest transaction of one event, with one round trip."""
TRANSACTION: Final = Path(__file__).with_name("intake_transaction.sql")
"""`begin`, four inserts, `commit`: the transaction of an application that writes event by event."""
_DONE: Final = re.compile(r"number of transactions actually processed: (\d+)")
_RATE: Final = re.compile(r"tps = ([\d.]+) \(without initial connection time\)")
_FAILED: Final = re.compile(r"number of failed transactions: (\d+)")


class Reached(NamedTuple):
    """The number of transactions, their rate a second, and the number of failures."""

    transactions: int
    rate: float
    failed: int


def _run_pgbench(system: System, script: Path, clients: int, transactions: int) -> Reached:
    """
    Run pgbench once in prepared mode, with `transactions` transactions of each client.

    Each transaction sends the body as a parameter, as the gateway does.
    """
    postgres = system.stack.postgres
    [body] = make_bodies(1)
    words = ["-h", "127.0.0.1", "-p", str(postgres.port), "-U", "postgres", "-n", "-M", "prepared", "-f", str(script)]
    load = ["-c", str(clients), "-j", "1", f"--transactions={transactions}"]
    # The schema's name is a variable too, since pgbench treats every colon before a letter as a variable.
    variables = ["-D", f"body={body.data.decode()}", "-D", f"dataschema={DATASCHEMA}"]
    command = [postgres.programs / "pgbench", *words, *load, *variables, "tallyhook"]
    environment = {**os.environ, "PGPASSWORD": postgres.password}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    rate, transactions = _RATE.search(done.stdout), _DONE.search(done.stdout)
    if done.returncode or not rate or not transactions:
        raise WorkFailed(f"pgbench: {(done.stderr or done.stdout).strip()[:300]}")
    failed = _FAILED.search(done.stdout)
    return Reached(int(transactions[1]), float(rate[1]), int(failed[1]) if failed else 0)


CONNECTIONS: Final = 64
_TABLES: Final = ("dedup", "outbox", "outbox_pending", "webhook_deliveries")
_FIRST_GUESS: Final = 20_000.0  # requests a second for which the warm-up has enough requests
_WARM_UP: Final = 50  # transactions of each client: on a busy machine a second may pass before all of them are connected
_SPARE: Final = 2.0  # factor by which a round may be faster than the one before
_GRACE: Final = 60.0  # seconds


_BARE: Final = (bare_handler.TABLE,)
_SIDES: Final = {"gateway": _TABLES, TWO_PROCESSES: _TABLES, BARE_HANDLER: _BARE}
"""The sides by name, each with its tables."""


class Round(NamedTuple):
    """One round of a side; latencies in seconds, `cost` in milliseconds of processor time per event in all its processes."""

    rate: float
    p50: float
    p99: float
    cost: float


def run(scale: Scale, report: Report) -> Result:
    seconds = scale.seconds(10)
    sides: dict[str, list[Round]] = {side: [] for side in _SIDES}
    transactions: list[float] = []
    statements: list[float] = []
    with system("postgres", "kafka", "redis", report=report) as ours:
        report("intake", "warming up")
        with ours.connect() as connection:
            connection.execute(bare_handler.CREATE)
        rate = max(_through_http(ours, side, max(2.0, seconds / 5), _FIRST_GUESS).rate for side in _SIDES)
        lengths = {script: _length(ours, script, seconds) for script in (TRANSACTION, STATEMENT)}
        for number in range(1, scale.rounds + 1):
            for side, rounds in sides.items():
                report("intake", f"round {number} of {scale.rounds}: {side}")
                rounds.append(_through_http(ours, side, seconds, _SPARE * rate))
                rate = max(rate, rounds[-1].rate)
            report("intake", f"round {number} of {scale.rounds}: pgbench")
            transactions.append(_through_pgbench(ours, TRANSACTION, lengths[TRANSACTION]))
            statements.append(_through_pgbench(ours, STATEMENT, lengths[STATEMENT]))
    notes = [
        f"load: {_generator()}, {CONNECTIONS} connections, {seconds:g} s a round; relay and worker do not run",
        "capacity of two processes ÷ one: calculated from the processor time of an event with a core for each, not from rates",
    ]
    return Result("intake", [*_figures(sides["gateway"], transactions, statements), *_peers(sides)], notes)


def _peers(sides: dict[str, list[Round]]) -> list[Figure]:
    """Return the figures of the gateway with two processes and of the bare handler."""
    gateway, two, bare = sides["gateway"], sides[TWO_PROCESSES], sides[BARE_HANDLER]
    costs = {side: [each.cost for each in rounds] for side, rounds in sides.items()}
    twice = [2 * cost for cost in costs["gateway"]]
    return [
        ratio("acknowledged ÷ bare aiohttp handler, one insert", [each.rate for each in gateway], [each.rate for each in bare]),
        median("bare aiohttp handler, one insert", [each.rate for each in bare], "events/s"),
        median("bare aiohttp handler: answer p99", [each.p99 * 1000 for each in bare], "ms"),
        ratio("capacity of two processes ÷ one", twice, costs[TWO_PROCESSES], Aim(at_least=1.7)),
        median("acknowledged by two processes", [each.rate for each in two], "events/s"),
        *(median(f"processor time: {side}", cost, "ms/event") for side, cost in costs.items()),
    ]


def _figures(gateway: list[Round], transactions: list[float], statements: list[float]) -> list[Figure]:
    rates = [each.rate for each in gateway]
    return [
        ratio("acknowledged ÷ pgbench, transactions", rates, transactions, Aim(at_least=1.3)),
        ratio("acknowledged ÷ pgbench, single statements", rates, statements, Aim(at_least=1.3)),
        median("acknowledged", rates, "events/s"),
        median("pgbench: begin, four inserts, commit", transactions, "events/s"),
        median("pgbench: the four rows in one statement", statements, "events/s"),
        median("answer p50", [each.p50 * 1000 for each in gateway], "ms"),
        median("answer p99", [each.p99 * 1000 for each in gateway], "ms", Aim(at_most=10)),
    ]


def _through_http(ours: System, side: str, seconds: float, highest_rate: float) -> Round:
    ours.empty()
    with ours.connect() as connection:
        connection.execute(f"truncate {bare_handler.TABLE}")
    requests = ours.stack.data_dir / "requests"
    host, port = ours.public
    # The same number for each process, so that commits have the same size.
    connections = CONNECTIONS * (2 if side == TWO_PROCESSES else 1)
    number = int(highest_rate * seconds) + connections
    write_requests(requests, number, ours.settings["STRIPE_WEBHOOK_SECRET"], f"{host}:{port}")
    plan = load.Plan(requests, ours.public, connections, seconds)
    done = _by_wrk(ours, side, plan) if _has_wrk() else _by_our_own(ours, side, plan)
    if _has_wrk() and _stored(ours, side) >= number:  # wrk drops requests in flight; our own client ends with the last answer
        raise Void(f"all {number:,} requests were sent before the end of the round")
    return done


def _by_wrk(ours: System, side: str, plan: load.Plan) -> Round:
    with ours.running(side) as [process]:
        before = cpu_seconds_of_all(process.pid)
        seen = _send_by_wrk(plan)
        spent = cpu_seconds_of_all(process.pid) - before
    expect("requests that failed or were refused", seen.failed + seen.refused, 0)
    stored = _stored(ours, side)
    # wrk ends while up to one request on each connection is in flight; each of those may be committed or not.
    if not seen.requests <= stored <= seen.requests + plan.connections:
        raise Void(f"rows of intake: {stored:,} where {seen.requests:,} were acknowledged")
    return Round(seen.rate, seen.p50 / 1e6, seen.p99 / 1e6, spent * 1000 / stored)


def _by_our_own(ours: System, side: str, plan: load.Plan) -> Round:
    with ours.running(side) as [process]:
        before = cpu_seconds_of_all(process.pid)
        with in_other_process(load.send, plan) as answers_within:
            answers = answers_within((plan.seconds or 0) + _GRACE)
        spent = cpu_seconds_of_all(process.pid) - before
    expect("requests that were refused", answers.refused, 0)
    expect("rows of intake", _stored(ours, side), answers.acknowledged)
    ordered = sorted(answers.latencies)
    return Round(answers.rate, percentile(ordered, 0.5), percentile(ordered, 0.99), spent * 1000 / answers.acknowledged)


def _length(ours: System, script: Path, seconds: float) -> int:
    """Return the transactions of each client for about this duration, after a short run that warms up."""
    return max(_WARM_UP, round(_run_pgbench(ours, script, CONNECTIONS, _WARM_UP).rate * seconds / CONNECTIONS))


def _through_pgbench(ours: System, script: Path, transactions: int) -> float:
    ours.empty()
    reached = _run_pgbench(ours, script, CONNECTIONS, transactions)
    expect("transactions that failed", reached.failed, 0)
    expect("rows of pgbench", _stored(ours, "gateway"), reached.transactions)
    return reached.rate


def _stored(ours: System, side: str) -> int:
    """Count the rows of each table of the side; the counts must agree."""
    counts = {table: ours.count(table) for table in _SIDES[side]}
    if len(set(counts.values())) > 1:
        raise Void(f"the tables of intake disagree: {counts}")
    return counts[_SIDES[side][0]]


def _generator() -> str:
    return "wrk" if _has_wrk() else "our own client (wrk is not installed)"
