"""Deliveries a second of one leads worker, each attempt written down; and what a CRM that hangs, or is away, costs the others."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from benchmarks.beside import beside
from benchmarks.figures import Aim, Result, Void, expect, median, percentile, ratio
from benchmarks.system import Running, System, system
from projections.leads import DUE_CHANNEL

if TYPE_CHECKING:
    from benchmarks.figures import Scale
    from benchmarks.system import Report

_END: Final = b"\r\n\r\n"
_HANGING: Final = b"post /hang"
_TAKEN: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


def serve(port: int) -> None:
    """Serve until the process is ended."""
    asyncio.run(_serve(port))


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", port)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(_END)).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            if head.startswith(_HANGING):
                await reader.read()  # until the caller gives up
                break
            writer.write(_TAKEN)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


LEADS: Final = 10_000
PARTNERS: Final = 20
WORKER: Final = "worker-leads"
_SECRET: Final = "whsec_YmVuY2htYXJrLXNlY3JldC1vZi0zMC1ieXRlcw=="  # noqa: S105  # of a partner that lives for a minute
_LOOK_EVERY: Final = 0.2  # seconds
_LIMIT: Final = 300.0  # seconds for one round

_PACE: Final = 200  # leads a second of all partners
_PACED: Final = 20.0  # seconds
_SICK: Final = "P0"
_SETTLED: Final = 2.0  # seconds before the first paced lead is due: they are written down by then

# Due as the worker's handler leaves them; ids of today, so that their events find a partition.
_FILL: Final = """
insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at, version,
                   next_attempt_at)
select uuidv7(), 'P' || n %% %(partners)s, 'p' || n %% %(partners)s, n::text, 'received', %(payload)s,
       '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', now(), now(), 1, now()
from generate_series(1, %(leads)s) as n
"""
_PAYLOAD: Final = b'{"name":"Ada Lovelace","email":"ada@example.org","phone":"+49 30 1234","message":"' + b"x" * 400 + b'"}'


# The same, each due at its time on a grid; `received_at` tells that time to the end.
_FILL_PACED: Final = """
insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at, version,
                   next_attempt_at)
select uuidv7(), 'P' || n %% %(partners)s, 'p' || n %% %(partners)s, n::text, 'received', %(payload)s,
       '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', due, now(), 1, due
from generate_series(1, %(leads)s) as n, lateral (
  select now() + make_interval(secs => %(after)s + n / %(pace)s::float8) as due)
"""
_LATENESS: Final = """
select extract(epoch from a.ended_at - l.received_at) from leads l join lead_attempts a on a.lead_id = l.id
where l.partner <> %s and a.status = 204
"""


def run(scale: Scale, report: Report) -> Result:
    leads, seconds = scale.count(LEADS), scale.seconds(_PACED)
    rates: list[float] = []
    late: dict[str, list[float]] = {"healthy": [], "hangs": [], "dead": []}
    with system("postgres", "kafka", report=report) as ours:
        port, nobody = (ours.stack.ports.take(name, 0) for name in ("crm", "no-crm"))
        crm = {"healthy": f"{port}/p0", "hangs": f"{port}/hang", "dead": f"{nobody}/p0"}
        with beside(serve, port):
            for number in range(1, scale.rounds + 1):
                report("leads", f"round {number} of {scale.rounds}: {leads:,} leads of {PARTNERS} partners")
                ours.settings.update(_partners(port))  # all CRMs are well again after the round before
                rates.append(_deliver(ours, leads))
                for state, found in late.items():
                    report("leads", f"round {number} of {scale.rounds}: {_PACE} a second, one of {PARTNERS} CRMs {state}")
                    ours.settings[f"PARTNER_{_SICK}_CRM_URL"] = f"http://127.0.0.1:{crm[state]}"
                    found.append(_p99(ours, seconds))
    return Result(
        "leads",
        [
            median("delivered, every attempt stored", rates, "leads/s", Aim(at_least=500)),
            median("due to delivered, all healthy: p99", late["healthy"], "ms"),
            ratio("p99 of the others, one CRM hangs ÷ all healthy", late["hangs"], late["healthy"], Aim(at_most=1.1)),
            ratio("p99 of the others, one CRM dead ÷ all healthy", late["dead"], late["healthy"], Aim(at_most=1.1)),
        ],
        [f"p99: {_PACE} leads a second of {PARTNERS} partners on a fixed grid, {seconds:.0f} s, those of 19 partners counted"],
    )


def _partners(port: int) -> dict[str, str]:
    found = {"OUTBOUND_ALLOW": "127.0.0.0/8"}
    for number in range(PARTNERS):
        found[f"PARTNER_P{number}_CRM_URL"] = f"http://127.0.0.1:{port}/p{number}"
        found[f"PARTNER_P{number}_CRM_SECRET"] = _SECRET
    return found


def _deliver(ours: System, leads: int) -> float:
    ours.empty()
    with ours.connect() as connection:
        connection.execute("truncate leads, lead_attempts")
        connection.execute(_FILL, {"partners": PARTNERS, "leads": leads, "payload": _PAYLOAD})
        connection.execute("vacuum (analyze) leads")
    with ours.running(WORKER) as [worker]:
        _until_delivered(ours, worker, leads)
    expect("leads delivered", ours.count("leads where status = 'delivered'"), leads)
    expect("attempts answered by 204", ours.count("lead_attempts where status = 204"), leads)
    expect("attempts", ours.count("lead_attempts"), leads)
    expect("events", ours.count("outbox where type = 'lead.delivered'"), leads)
    return leads / _seconds(ours)


def _p99(ours: System, seconds: float) -> float:
    """Milliseconds from when a lead was due until its delivery was written down, of the partners that are well in any case."""
    number = int(_PACE * seconds)
    ours.empty()
    with ours.connect() as connection:
        connection.execute("truncate leads, lead_attempts")
    with ours.running(WORKER) as [worker]:
        with ours.connect() as connection:
            with connection.transaction():
                after = {"after": _SETTLED, "pace": _PACE}
                connection.execute(_FILL_PACED, after | {"partners": PARTNERS, "leads": number, "payload": _PAYLOAD})
                connection.execute("select pg_notify(%s, '')", (DUE_CHANNEL,))  # as the handler's commit does
            connection.execute("vacuum (analyze) leads")
        _until_delivered(ours, worker, number - number // PARTNERS, f"status = 'delivered' and partner <> '{_SICK}'")
    with ours.connect() as connection:
        late = sorted(float(row[0]) for row in connection.execute(_LATENESS, (_SICK,)))
    expect("leads delivered to the others", len(late), number - number // PARTNERS)
    return percentile(late, 0.99) * 1000


def _until_delivered(ours: System, worker: Running, leads: int, which: str = "next_attempt_at is null") -> None:
    deadline = time.monotonic() + _LIMIT
    while (done := ours.count(f"leads where {which}")) < leads:
        if time.monotonic() > deadline:
            raise Void(f"only {done:,} of {leads:,} leads were delivered within {_LIMIT:.0f} s")
        worker.check()
        time.sleep(_LOOK_EVERY)


def _seconds(ours: System) -> float:
    """From the start of the first attempt to the end of the last: the worker begins before it can be seen to be ready."""
    with ours.connect() as connection:
        row = connection.execute("select extract(epoch from max(ended_at) - min(started_at)) from lead_attempts").fetchone()
    return float(row[0]) if row else 0.0
