"""Deliveries a second of one leads worker to CRMs on this machine, every attempt written down."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from benchmarks.beside import beside
from benchmarks.crm import serve
from benchmarks.figures import Aim, Result, Void, expect, median
from benchmarks.system import Running, System, system

if TYPE_CHECKING:
    from benchmarks.scale import Scale
    from benchmarks.system import Report

LEADS: Final = 10_000
PARTNERS: Final = 20
WORKER: Final = "worker-leads"
_SECRET: Final = "whsec_YmVuY2htYXJrLXNlY3JldC1vZi0zMC1ieXRlcw=="  # noqa: S105  # of a partner that lives for a minute
_LOOK_EVERY: Final = 0.2  # seconds
_LIMIT: Final = 300.0  # seconds for one round

# Due as the worker's handler leaves them; ids of today, so that their events find a partition.
_FILL: Final = """
insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at, version,
                   next_attempt_at)
select uuidv7(), 'P' || n %% %(partners)s, 'p' || n %% %(partners)s, n::text, 'received', %(payload)s,
       '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', now(), now(), 1, now()
from generate_series(1, %(leads)s) as n
"""
_PAYLOAD: Final = b'{"name":"Ada Lovelace","email":"ada@example.org","phone":"+49 30 1234","message":"' + b"x" * 400 + b'"}'


def run(scale: Scale, report: Report) -> Result:
    leads = scale.count(LEADS)
    rates: list[float] = []
    with system("postgres", "kafka", report=report) as ours:
        port = ours.stack.ports.take("crm", 0)
        ours.settings.update(_partners(port))
        with beside(serve, port):
            for number in range(1, scale.rounds + 1):
                report("leads", f"round {number} of {scale.rounds}: {leads:,} leads of {PARTNERS} partners")
                rates.append(_deliver(ours, leads))
    return Result("leads", [median("delivered, every attempt stored", rates, "leads/s", Aim(at_least=500))])


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


def _until_delivered(ours: System, worker: Running, leads: int) -> None:
    deadline = time.monotonic() + _LIMIT
    while (done := ours.count("leads where next_attempt_at is null")) < leads:
        if time.monotonic() > deadline:
            raise Void(f"only {done:,} of {leads:,} leads were delivered within {_LIMIT:.0f} s")
        worker.check()
        time.sleep(_LOOK_EVERY)


def _seconds(ours: System) -> float:
    """From the start of the first attempt to the end of the last: the worker begins before it can be seen to be ready."""
    with ours.connect() as connection:
        row = connection.execute("select extract(epoch from max(ended_at) - min(started_at)) from lead_attempts").fetchone()
    return float(row[0]) if row else 0.0
