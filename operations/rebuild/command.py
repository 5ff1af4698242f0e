"""`tallyhook rebuild`: restores a table that was lost or may be wrong from the log."""

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.output import Json, bar, database, operator, postponing, show
from runtime.settings import environment

if TYPE_CHECKING:
    from operations.rebuild.builder import Progress
    from operations.rebuild.run import Outcome
    from operations.rebuild.search import Indexed
    from runtime.servers import ElasticsearchSettings


def rebuild(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="PROJECTION",
            help="payments, refunds, disputes, subscriptions, invoices, history, reconciliations, leads, notifications, search, "
            "config; or all.",
        ),
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the differences; change nothing.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Also replace and delete rows whose difference from the log is unexplained.")
    ] = False,
    with_side_effects: Annotated[
        bool,
        typer.Option(
            "--with-side-effects",
            help="Send leads and messages again whose outcome the log does not show; by default they are held back.",
        ),
    ] = False,
    lock_limit: Annotated[
        int,
        typer.Option(min=1, max=3600, help="Seconds for which writers may be locked out; after that, nothing is changed."),
    ] = 30,
    as_json: Json = False,
) -> None:
    """
    Restore lost rows from the outbox log, and from Kafka if the log no longer has their events. No message is sent.

    Workers may run. The rows are built beside the live table and compared, and the live table is corrected in one transaction.
    The exit code is 1 if a difference is unexplained (see --yes), or if a row cannot be restored.
    """
    from operations.rebuild import report
    from operations.rebuild.projections import sources
    from runtime.logs import configure_logs
    from runtime.servers import ElasticsearchSettings

    wanted = sources(names, environment(), effects=with_side_effects)
    index_settings = ElasticsearchSettings.load(environment()) if any(each.name == "search" for each in wanted) else None
    configure_logs("rebuild", "CRITICAL")  # dead letters are counted in the summary
    if not dry_run:
        _note([*names, *["--yes"] * yes, *["--with-side-effects"] * with_side_effects])
    outcomes: list[Outcome] = []
    index = None
    try:
        for source in wanted:
            outcome = _rebuild(source, timedelta(seconds=lock_limit), dry_run=dry_run, yes=yes)
            outcomes.append(outcome)
        index = _reindex(index_settings, dry_run=dry_run) if index_settings else None
    finally:  # report also the sources that were done before one was refused
        data = report.report_of(outcomes, index, dry_run=dry_run)
        if outcomes:
            show(data, report.text(data), as_json=as_json)
    raise typer.Exit(0 if data["ok"] else 1)


def _note(words: list[str]) -> None:
    from gateway.audit_log import note_command_now

    with database() as connection:
        note_command_now(connection, f"tallyhook rebuild {' '.join(words)}", operator())


def _reindex(settings: "ElasticsearchSettings", *, dry_run: bool) -> "Indexed":
    import asyncio

    from operations.rebuild.search import reindex

    with database() as connection, bar("checking the index"):
        return asyncio.run(reindex(connection, settings, dry_run=dry_run))


def _rebuild(source: Any, limit: timedelta, *, dry_run: bool, yes: bool) -> "Outcome":
    from operations.offset_replay import schema
    from operations.rebuild.run import Rebuild
    from streams.settings import StreamSettings

    settings = StreamSettings.load(environment())
    with database() as connection, bar(source.name) as shown:
        for name in schema.drop_abandoned(connection):
            print(f"dropped {name}, which a killed run had left", file=sys.stderr)

        def describe(description: str) -> "Progress":
            shown(description=description, completed=0, total=None)
            return lambda done, total: shown(description=description, completed=done, total=total or None)

        rebuilding = Rebuild(connection, settings, describe, limit=limit, postponed=postponing(shown))
        return rebuilding.run(source, dry_run=dry_run, yes=yes)
