"""`tallyhook backfill`."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.output import WHEN, CommandError, Json, bar, finite, operator, parse_period, show, with_database
from runtime.settings import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import AsyncConnection

    from operations.backfill.run import BackfillRequest, Report
    from operations.backfill.stripe_api import Listed

app = typer.Typer(no_args_is_help=True, help="Fetch events that a provider sent and that never arrived.")

_RATE_MAX = 1000.0


@app.callback()
def backfill() -> None:
    """Fetch events that a provider sent and that never arrived."""


@app.command("stripe")
def stripe(
    *,
    since: Annotated[str, typer.Option(help=f"The beginning of the period. {WHEN} Stripe lists the last 30 days.")],
    until: Annotated[str, typer.Option(help=f"The end of the period. {WHEN}")] = "0s",
    types: Annotated[
        list[str] | None,
        typer.Option("--types", metavar="TYPE", help="Only this type; may be given up to 20 times, or comma-separated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the missing events, and record nothing.")] = False,
    rate: Annotated[
        float,
        typer.Option(min=0.1, max=_RATE_MAX, callback=finite, help="The maximum number of events recorded per second."),
    ] = 100.0,
    as_json: Json = False,
) -> None:
    """
    List Stripe's events, and record those that never arrived as if they had.

    Events that arrived are not touched, so a second run records nothing. Without --types, events of types that no worker
    handles are counted and left out; so are those of the mode that STRIPE_MODE does not name.
    """
    from operations.backfill.run import Report
    from operations.backfill.settings import StripeSettings
    from operations.backfill.stripe_api import StripeApiError, StripeEvents

    settings = StripeSettings.load(environment())
    request = _request_of(since, until, types or [], rate, dry_run=dry_run)._replace(mode=settings.stripe_mode)
    if not settings.stripe_api_key:
        raise CommandError("STRIPE_API_KEY is not set: give it a secret or restricted key that may read events")
    client = StripeEvents(settings.stripe_api_key[0].value, settings.stripe_api_base)
    report = Report(since=request.since, until=request.until, dry_run=dry_run)
    try:
        _run(client.pages(request.since, request.until, request.types), request, report)
    except StripeApiError as error:
        if report.seen:
            raise CommandError(f"{error.reason}: {error}; {report.put_in} were recorded before that: run it again") from error
        raise
    _print_report(report, as_json=as_json)
    if report.failed:
        reasons = ", ".join(sorted({each.reason for each in report.failures}))
        raise CommandError(f"{report.failed} could not be recorded: {reasons}")


def _request_of(since: str, until: str, types: list[str], rate: float, *, dry_run: bool) -> "BackfillRequest":
    from operations.backfill.run import BackfillRequest
    from operations.backfill.stripe_api import LISTED_FOR, TYPES_MAX

    now = datetime.now(UTC)
    begin, end = parse_period(("--since", since), ("--until", until), now)
    oldest = now - LISTED_FOR + timedelta(minutes=1)
    if end <= oldest:
        raise CommandError("Stripe lists events of the last 30 days only: its API does not have older ones")
    if begin < oldest:
        typer.echo(f"Stripe lists events of the last 30 days only: this run begins at {oldest:%Y-%m-%d %H:%M}Z", err=True)
    wanted = [part.strip() for text in types for part in text.split(",") if part.strip()]
    if len(wanted) > TYPES_MAX:
        raise CommandError(f"Stripe's list can be narrowed to {TYPES_MAX} types, and --types names {len(wanted)}: leave it out")
    return BackfillRequest(max(begin, oldest), end, wanted, rate, dry_run, operator())


def _run(pages: "Iterator[list[Listed]]", request: "BackfillRequest", report: "Report") -> None:
    from operations.backfill.run import backfill as run_backfill

    end = int(request.until.timestamp())
    with bar("reading Stripe's events", end - int(request.since.timestamp()), counted=False) as shown:

        def progress(created: int) -> None:
            back = f"back to {datetime.fromtimestamp(created, UTC):%m-%d %H:%M}"
            shown(completed=end - created, description=f"{back}, {report.seen:,} seen, {report.missing:,} missing")

        async def work(connection: "AsyncConnection") -> None:
            await run_backfill(connection, pages, request, report, progress)

        with_database(work)


def _print_report(report: "Report", *, as_json: bool) -> None:
    import msgspec

    data: dict[str, Any] = msgspec.to_builtins(report)
    data["failures"] = [each._asdict() for each in report.failures]
    lines = [
        f"{report.since:%Y-%m-%d %H:%M}Z to {report.until:%Y-%m-%d %H:%M}Z: Stripe lists {report.seen:,} events",
        f"  {report.known:>8,} had arrived",
        f"  {report.missing:>8,} never arrived" + ("" if report.dry_run else f", {report.put_in:,} of them recorded now"),
        f"  {report.ignored:>8,} of types that no worker handles or of the other mode, left out",
        *(f"  {number:>8,}   {name}" for name, number in report.ignored_types.items()),
        *([f"  {report.failed:>8,} could not be recorded"] if report.failed else []),
        *(f"           {each.id}  {each.reason}" for each in report.failures),
    ]
    if report.put_in:
        lines.append("They are on their way to the workers: `tallyhook ledger` shows them arrive.")
    show(data, "\n".join(lines), as_json=as_json)
