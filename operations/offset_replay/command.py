"""`tallyhook replay offsets`: a worker reads records of Kafka again."""

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from operations.output import CommandError, Json, bar, database, operator, postponing, show
from runtime.settings import environment

_PATIENCE: Final = 5.0  # seconds without progress of the live worker on the events of the shadow
_LOOK_EVERY: Final = 0.5

if TYPE_CHECKING:
    from operations.offset_replay.bounds import Start, Stop
    from operations.offset_replay.differences import Comparison
    from operations.offset_replay.live import Outlook, Target
    from outbox.offsets import Group, Offsets


def offsets(
    *,
    worker: Annotated[
        str,
        typer.Option(help="The worker role whose offsets are moved: alerts, cache, leads, notifications, payments or search."),
    ],
    topic: Annotated[str, typer.Option(help="One of the topics that it reads.")],
    from_offset: Annotated[
        list[str] | None, typer.Option(metavar="P:N", help="Begin partition P at offset N; once for each partition.")
    ] = None,
    from_time: Annotated[
        str | None,
        typer.Option(metavar="T", help="Begin at the first record of this time or later: 2026-11-24T17:30:00Z, or 90m ago."),
    ] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin at the oldest record that Kafka has.")] = False,
    to: Annotated[
        list[str] | None,
        typer.Option(metavar="P:N|T|end", help="End before this record, by default at the end. Only with --dry-run or --shadow."),
    ] = None,
    with_side_effects: Annotated[
        bool,
        typer.Option(
            "--with-side-effects",
            help="Repeat messages, CRM calls and orders of unmarked events; by default they are suppressed.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show which records would be read again; change nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the worker has been started and has read everything.")] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Rebuild the tables beside the live ones and compare; nothing live is touched.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="With --shadow: keep the shadow tables.")] = False,
    as_json: Json = False,
) -> None:
    """
    Move the offsets of a stopped worker back, so that it reads again.

    Events with a mark in `consumed` are skipped. Events without one are handled, but their mails, CRM calls and orders are
    suppressed unless `--with-side-effects` is given: they were sent before the mark was lost.
    """
    from operations.offset_replay import live
    from operations.offset_replay.bounds import start_of, stop_of

    now = datetime.now(UTC)
    target = live.Target(worker, topic)
    live.check(target)
    start = start_of(from_offset or [], from_time, beginning=from_start, now=now)
    stop = stop_of(to or [], now)
    if shadow:
        _refuse_together({"--with-side-effects": with_side_effects, "--wait": wait, "--dry-run": dry_run}, "--shadow")
        raise typer.Exit(_shadow(target, start, stop, keep=keep, as_json=as_json))
    _refuse_together({"--keep": keep}, "a replay without --shadow")
    if to and not dry_run:
        raise CommandError("--to: a group always reads to the end of the log; use it with --dry-run or --shadow")
    _live(
        target, start, stop, effects="allowed" if with_side_effects else "suppressed", dry_run=dry_run, wait=wait, as_json=as_json
    )


def _refuse_together(flags: dict[str, bool], other: str) -> None:
    if given := [name for name, value in flags.items() if value]:
        raise CommandError(f"{' and '.join(given)} cannot be combined with {other}")


def _live(target: "Target", start: "Start", stop: "Stop", *, effects: Any, dry_run: bool, wait: bool, as_json: bool) -> None:
    from gateway.audit_log import note_command_now
    from operations.offset_replay import live, outcomes, report
    from operations.offset_replay.plan import refuse_live
    from outbox.offsets import Offsets
    from runtime.kafka import KafkaSettings
    from schemas.topology import group_of

    kafka = KafkaSettings.load(environment()).kafka
    broker = Offsets(kafka)
    if not dry_run:
        refuse_live(broker.group(group_of(target.worker)))
    with database() as connection:
        with bar("reading the records that would be read again") as shown:
            outlook = live.survey(broker, kafka, connection, target, start, stop, lambda number: shown(advance=number))
        moving = not dry_run and bool(outlook.back)
        settling = moving and target.worker == outcomes.WORKER and effects == "suppressed"
        if moving:
            words = f"tallyhook replay offsets --worker {target.worker} --topic {target.topic}"
            note_command_now(connection, words + " --with-side-effects" * (effects == "allowed"), operator())
        settled = outcomes.settle(broker, kafka, connection, start) if settling else 0
        replay = live.begin(kafka, connection, target, outlook, effects) if moving else None
    data = report.moved(target, outlook, effects, replay, settled)
    show(data, report.moved_text(data), as_json=as_json)
    if replay and wait:
        _follow(broker, target, outlook)


def _follow(broker: "Offsets", target: "Target", outlook: "Outlook") -> None:
    from operations.offset_replay import live

    total = sum(move.until - move.target for move in outlook.back)
    started = datetime.now(UTC)
    with bar(f"waiting for a worker: tallyhook worker {target.worker}", total) as shown:

        def progress(read: int, group: "Group") -> None:
            state = "reading again" if group.members else f"waiting for a worker: tallyhook worker {target.worker}"
            shown(completed=read, description=state)

        ended = live.follow(broker, target, outlook.back, progress)
    print(f"{total} records read again in {(ended - started).total_seconds():.0f} s", file=sys.stderr)


def _shadow(target: "Target", start: "Start", stop: "Stop", *, keep: bool, as_json: bool) -> int:
    import uvloop

    from operations.offset_replay import differences, report, schema, shadow
    from outbox.offsets import Offsets
    from runtime.heartbeat import Heartbeat
    from runtime.lease import Lease
    from runtime.logs import configure_logs
    from streams.settings import StreamSettings

    shadow.refuse_unbuildable(target.worker)
    settings = StreamSettings.load(environment())
    configure_logs("shadow", "CRITICAL")  # dead letters are counted in the summary
    ranges = shadow.ranges_of(Offsets(settings.kafka), target, start, stop)
    total = sum(each.length for each in ranges.values())
    with database() as connection:
        for name in schema.drop_abandoned(connection):
            print(f"dropped {name}, which a killed run had left", file=sys.stderr)
        tables = shadow.BUILDABLE[target.worker].tables
        with (
            Lease(settings.database_url, "shadow", settings.lock_lease, Heartbeat("shadow")) as lease,
            schema.shadow_schema(connection, lease.connection, tables, keep=keep) as made,
        ):
            description, role = "building the shadow", shadow.BUILDABLE[target.worker].role
            with bar(description, total) as shown:

                def progress(number: int) -> None:
                    shown(advance=number, description=description)

                built = uvloop.run(shadow.build(role, settings, made, ranges, progress, postponed=postponing(shown)))
            found = _settled(connection, made, target)
            emitted, letters = differences.emitted(connection, made), differences.dead_letters(connection, made)
    data = report.compared(target, built, found, emitted=emitted, letters=letters, kept=made if keep else None)
    show(data, report.compared_text(data), as_json=as_json)
    return 0 if found.equal else 1


def _settled(connection: Any, schema: str, target: "Target") -> "Comparison":
    """Compare until the live worker has handled every event of the shadow, or makes no progress any more."""
    from operations.offset_replay.differences import compare

    least, deadline = sys.maxsize, 0.0
    with bar("comparing"):
        while True:
            found = compare(connection, schema, target.worker, target.topic.rpartition(".")[2])
            if found.behind < least:
                least, deadline = found.behind, time.monotonic() + _PATIENCE
            if not found.behind or time.monotonic() >= deadline:
                return found
            time.sleep(_LOOK_EVERY)
