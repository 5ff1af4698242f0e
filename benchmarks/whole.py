"""The whole path of a payment, from HTTP to its mail, for this release and the last one, and its cost."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks import load
from benchmarks.bodies import user_of, write_requests
from benchmarks.figures import Aim, Result, expect, median, ratio
from benchmarks.mail_server import mail_server
from benchmarks.meter import Meter
from benchmarks.other_process import in_other_process
from benchmarks.system import System, measured, system
from benchmarks.topic import Topic
from schemas.topics import Topic as Name
from tests.release import last_release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Figure, Scale
    from benchmarks.mail_server import MailServer
    from benchmarks.system import Report

EVENTS: Final = 200_000
_PROCESSES: Final = ("relay", "worker-notifications", "worker-payments", "gateway")
_SERVERS: Final = ("postgres", "kafka", "redis")
_AT_ONCE: Final = 25_000  # signed and sent together: no signature may be older than five minutes
_CONNECTIONS: Final = 64
_LIMIT: Final = 3600.0  # seconds
_FACTOR: Final = 2.0


class _Round(NamedTuple):
    """One round: events a second until the last mail, and the cost of an event: milliseconds by process, kilobytes by place."""

    rate: float
    cost: dict[str, float]
    written: dict[str, float]


class _Side:
    """A release and the servers on which it runs."""

    def __init__(self, name: str, ours: System, mails: MailServer, report: Report) -> None:
        self.name = name
        self.rounds: list[_Round] = []
        self._ours = ours
        self._mails = mails
        self._report = report

    def run_round(self, events: int) -> None:
        """Send `events` events, and wait until every mail about them has arrived."""
        self._ours.empty()
        billing, outcomes = (Topic(self._ours.bootstrap, name) for name in (Name.BILLING_PAYMENTS, Name.NOTIFICATIONS))
        before = billing.ends(), outcomes.ends()
        with self._ours.running(*_PROCESSES) as processes:
            meter, taken, known = Meter(self._ours, processes), self._mails.taken, self._mails.recipients
            started = time.monotonic()
            self._send(events)
            self._report("whole", f"{self.name}: waiting for the last mail")

            def check() -> None:
                for process in processes:
                    process.check()

            for topic, ends in zip((billing, outcomes), before, strict=True):
                topic.until_readable(ends, events, _LIMIT, check)
            took = time.monotonic() - started
            self.rounds.append(_Round(events / took, meter.cost(events), meter.written(events)))
            expect("mails", self._mails.taken - taken, events)
            expect("addresses that got a mail", self._mails.recipients - known, events)
        for table in ("dedup", "payments", "notifications"):
            expect(f"rows of {table}", self._ours.count(table), events)
        expect("mails recorded as sent", self._ours.count("notifications where status = 'sent'"), events)
        expect("rows of dead_letters", self._ours.count("dead_letters"), 0)

    def _send(self, events: int) -> None:
        host, port = self._ours.public
        path = self._ours.stack.data_dir / "requests"
        for begin in range(0, events, _AT_ONCE):
            number = min(_AT_ONCE, events - begin)
            self._report("whole", f"{self.name}: sending, {begin:,} of {events:,} events")
            payments = write_requests(path, number, self._ours.settings["STRIPE_WEBHOOK_SECRET"], f"{host}:{port}")
            self._make_users(payments)
            with in_other_process(load.send, load.Plan(path, self._ours.public, _CONNECTIONS)) as answers_within:
                expect("events acknowledged", answers_within(_LIMIT).acknowledged, number)

    def _make_users(self, payments: Sequence[str]) -> None:
        """Store a mail address for each payer."""
        with self._ours.connect() as connection, connection.cursor() as cursor:
            cursor.execute("set synchronous_commit = off")
            with cursor.copy("copy contacts (user_id, email) from stdin") as copy:
                for payment in payments:
                    user = user_of(payment)
                    copy.write_row((user, f"{user}@example.com"))


def run(scale: Scale, report: Report) -> Result:
    events = scale.count(EVENTS)
    with ExitStack() as stack:
        mails = stack.enter_context(mail_server())
        programs = {"this release": measured()}
        if scale.with_peer:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallyhook-release-")))
            programs["last release"] = last_release(folder)
        sides = [
            _Side(
                name,
                stack.enter_context(system(*_SERVERS, report=report, program=program, NOTIFY_EMAIL_URL=mails.url)),
                mails,
                report,
            )
            for name, program in programs.items()
        ]
        for _ in range(scale.rounds):
            for side in sides:
                side.run_round(events)
    notes = [
        f"{events:,} events over HTTP, {_CONNECTIONS} connections, a mail for each to `mail_server.py` on the same machine",
        "processor time is that of our processes and their servers; the load and the mail server are not counted",
    ]
    return Result("whole", [*_ratios(sides), *(figure for side in sides for figure in _figures(side))], notes)


def _ratios(sides: Sequence[_Side]) -> list[Figure]:
    if len(sides) == 1:
        return []
    ours, former = ([each.rate for each in side.rounds] for side in sides)
    costs, before = ([sum(each.cost.values()) for each in side.rounds] for side in sides)
    return [
        ratio("this release ÷ the last", ours, former, Aim(at_least=_FACTOR)),
        ratio("processor time of this release ÷ the last", costs, before),
    ]


def _figures(side: _Side) -> list[Figure]:
    total = [sum(each.cost.values()) for each in side.rounds]
    parts = [
        median(f"{side.name}: {name}", [each.cost[name] for each in side.rounds], "ms/event") for name in side.rounds[0].cost
    ]
    return [
        median(f"{side.name}: until the last mail", [each.rate for each in side.rounds], "events/s"),
        median(f"{side.name}: processor time of all", total, "ms/event"),
        *parts,
        median(f"{side.name}: written to the WAL", [each.written["WAL"] for each in side.rounds], "KB/event"),
        median(f"{side.name}: written to topics", [each.written["topics"] for each in side.rounds], "KB/event"),
    ]
