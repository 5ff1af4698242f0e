"""Deliveries a second of one leads worker, with each attempt stored; and the delay of others by one CRM that hangs or fails."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import uvloop

from benchmarks.figures import Aim, Figure, Result, Void, cpu_seconds, expect, median, percentile, ratio
from benchmarks.meter import Meter
from benchmarks.other_process import in_other_process
from benchmarks.payments import last_id
from benchmarks.system import Running, System, system
from projections.leads import DUE_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Scale
    from benchmarks.system import Report

_END: Final = b"\r\n\r\n"
_HANGING: Final = b"post /hang"
_TAKEN: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


def serve(port: int) -> None:
    """Serve until the process is ended."""
    uvloop.run(_serve(port))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Crm, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


class _Crm(asyncio.Protocol):
    """
    One connection of a CRM that accepts every lead at once.

    It parses as little of a request as possible, since it runs on the measured cores.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(_END)) >= 0:
            head = self._read[:end].lower()
            if head.startswith(_HANGING):
                return  # no answer: the caller waits until its timeout
            size = end + len(_END) + int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._read) < size:
                return
            self._read = self._read[size:]
            self._transport.write(_TAKEN)


LEADS: Final = 10_000
PARTNERS: Final = 20
WORKER: Final = "worker-leads"
_SECRET: Final = "whsec_YmVuY2htYXJrLXNlY3JldC1vZi0zMC1ieXRlcw=="  # noqa: S105  # of a temporary partner
_LOOK_EVERY: Final = 0.02  # seconds
_LIMIT: Final = 300.0  # seconds for one round

_PACE: Final = 200  # leads a second of all partners
_PACED: Final = 20.0  # seconds
_SICK: Final = "P0"
_SETTLED: Final = 3.0  # seconds before the first lead is due: all are stored by then
_FILLED: Final = 2500  # leads that are stored in a second, on a busy machine

# The rows are as the worker's handler writes them, due on a time grid or all at once. Ids are of today, so that their events
# have a partition. `received_at` keeps the time at which a lead was due.
_FILL: Final = """
insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at, version,
                   next_attempt_at)
select uuidv7(), 'P' || n %% %(partners)s, 'p' || n %% %(partners)s, n::text, 'received', %(payload)s,
       '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', due, now(), 1, due
from generate_series(1, %(leads)s) as n, lateral (
  select now() + make_interval(secs => %(after)s + n * %(apart)s::float8) as due)
"""
_PAYLOAD: Final = b'{"name":"Ada Lovelace","email":"ada@example.org","phone":"+49 30 1234","message":"' + b"x" * 400 + b'"}'

_LATENESS: Final = """
select extract(epoch from a.ended_at - l.received_at) from leads l join lead_attempts a on a.lead_id = l.id
where l.partner <> %s and a.status = 204
"""


class _Drain(NamedTuple):
    """One drain: leads a second from their due time until all are stored, and seconds of processor time by process."""

    rate: float
    start: float
    cost: dict[str, float]
    written: dict[str, float]


def run(scale: Scale, report: Report) -> Result:
    leads, seconds = scale.count(LEADS), scale.seconds(_PACED)
    drains: list[_Drain] = []
    late: dict[str, list[float]] = {"healthy": [], "hangs": [], "dead": []}
    with system("postgres", "kafka", report=report) as ours:
        port, nobody = (ours.stack.ports.take(name, 0) for name in ("crm", "no-crm"))
        crm = {"healthy": f"{port}/p0", "hangs": f"{port}/hang", "dead": f"{nobody}/p0"}
        with in_other_process(serve, port):
            for number in range(1, scale.rounds + 1):
                report("leads", f"round {number} of {scale.rounds}: {leads:,} leads of {PARTNERS} partners")
                ours.settings.update(_partners(port))  # all CRMs work again after the round before
                drains.append(_drain(ours, leads))
                for state, found in late.items():
                    report("leads", f"round {number} of {scale.rounds}: {_PACE} a second, one of {PARTNERS} CRMs {state}")
                    ours.settings[f"PARTNER_{_SICK}_CRM_URL"] = f"http://127.0.0.1:{crm[state]}"
                    found.append(_p99(ours, seconds))
    return Result(
        "leads",
        [
            *_drained(drains),
            median("due to delivered, all healthy: p99", late["healthy"], "ms", Aim(at_most=25)),
            ratio("p99 of the others, one CRM hangs ÷ all healthy", late["hangs"], late["healthy"], Aim(at_most=1.1)),
            ratio("p99 of the others, one CRM dead ÷ all healthy", late["dead"], late["healthy"], Aim(at_most=1.1)),
        ],
        [
            f"p99: {_PACE} leads a second of {PARTNERS} partners on a fixed grid, {seconds:.0f} s, those of 19 partners counted",
            "processor time: the CRM of the benchmark is not counted",
        ],
    )


def _drained(drains: Sequence[_Drain]) -> list[Figure]:
    return [
        median("delivered, every attempt stored", [each.rate for each in drains], "leads/s", Aim(at_least=500)),
        median("processor time of all", [sum(each.cost.values()) for each in drains], "s/1,000 leads"),
        *(median(f"processor time: {name}", [each.cost[name] for each in drains], "s/1,000 leads") for name in drains[0].cost),
        median("start of the worker, not counted above", [each.start for each in drains], "s of processor time"),
        median("written to the WAL", [each.written["WAL"] for each in drains], "KB/lead"),
    ]


def _partners(port: int) -> dict[str, str]:
    found = {"OUTBOUND_ALLOW": "127.0.0.0/8"}
    for number in range(PARTNERS):
        found[f"PARTNER_P{number}_CRM_URL"] = f"http://127.0.0.1:{port}/p{number}"
        found[f"PARTNER_P{number}_CRM_SECRET"] = _SECRET
    return found


def _drain(ours: System, leads: int) -> _Drain:
    ours.empty()
    with ours.running(WORKER) as [worker]:
        start, due = cpu_seconds(worker.pid), _fill(ours, leads, _SETTLED + leads / _FILLED, 0.0)
        meter = Meter(ours, [worker])
        _expect_not_due(due)
        took = _until_stored(ours, worker, leads) - due
        drain = _Drain(leads / took, start, meter.cost(leads), meter.written(leads))
    expect("leads delivered", ours.count("leads where status = 'delivered'"), leads)
    expect("attempts answered by 204", ours.count("lead_attempts where status = 204"), leads)
    expect("attempts", ours.count("lead_attempts"), leads)
    expect("events", ours.count("outbox where type = 'lead.delivered'"), leads)
    return drain


def _fill(ours: System, leads: int, after: float, apart: float) -> float:
    """Store leads that are due after `after` seconds; returns the due time of the first one."""
    values = {"partners": PARTNERS, "leads": leads, "payload": _PAYLOAD, "after": after, "apart": apart}
    with ours.connect() as connection:
        with connection.transaction():
            connection.execute(_FILL, values)
            connection.execute("select pg_notify(%s, '')", (DUE_CHANNEL,))  # as the handler's commit does
        connection.execute("vacuum (analyze) leads")
        row = connection.execute("select extract(epoch from min(received_at)) from leads").fetchone()
    return float(row[0]) if row else 0.0


def _expect_not_due(due: float) -> None:
    if time.time() > due:
        raise Void("the first lead was due before all of them were stored")


def _until_stored(ours: System, worker: Running, leads: int) -> float:
    """Return the time at which the last event was stored; reading the sequence of the work list costs almost nothing."""
    deadline = time.monotonic() + _LIMIT
    with ours.connect() as connection:
        start = last_id(connection)
        while last_id(connection) - start < leads or ours.count("leads where status = 'delivered'") < leads:
            if time.monotonic() > deadline:
                raise Void(f"{leads:,} leads were not delivered within {_LIMIT:.0f} s")
            worker.check()
            time.sleep(_LOOK_EVERY)
    return time.time()


def _p99(ours: System, seconds: float) -> float:
    """Return the p99 in milliseconds from due time until the delivery was stored, for partners whose CRMs always work."""
    number = int(_PACE * seconds)
    ours.empty()
    with ours.running(WORKER) as [worker]:
        _expect_not_due(_fill(ours, number, _SETTLED + number / _FILLED, 1 / _PACE))
        _until_delivered(ours, worker, number - number // PARTNERS, f"status = 'delivered' and partner <> '{_SICK}'")
    with ours.connect() as connection:
        late = sorted(float(row[0]) for row in connection.execute(_LATENESS, (_SICK,)))
    expect("leads delivered to the others", len(late), number - number // PARTNERS)
    return percentile(late, 0.99) * 1000


def _until_delivered(ours: System, worker: Running, leads: int, which: str) -> None:
    deadline = time.monotonic() + _LIMIT
    while (done := ours.count(f"leads where {which}")) < leads:
        if time.monotonic() > deadline:
            raise Void(f"only {done:,} of {leads:,} leads were delivered within {_LIMIT:.0f} s")
        worker.check()
        time.sleep(_LOOK_EVERY)
