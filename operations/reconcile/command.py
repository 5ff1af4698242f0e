"""`tallyhook reconcile`."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.output import WHEN, CommandError, Json, bar, operator, parse_period, show, with_database
from runtime.settings import environment, parse_duration

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from operations.reconcile.lists import StripeLists
    from operations.reconcile.run import Difference, Options, Report

app = typer.Typer(no_args_is_help=True, help="Compare our rows with the objects of a provider, and correct our rows.")

_SHOWN = 50
_WORDS = {
    "missing_here": "missing here",
    "missing_there": "missing at Stripe",
    "differs": "differs",
    "unreadable": "cannot be read",
}


@app.callback()
def reconcile() -> None:
    """Compare our rows with the objects of a provider, and correct our rows."""


@app.command("stripe")
def stripe(
    *,
    since: Annotated[
        str, typer.Option("--from", help=f"The start of the period in which the objects were created. {WHEN}")
    ] = "1d",
    until: Annotated[str, typer.Option("--to", help=f"The end of the period. {WHEN}")] = "0s",
    apply: Annotated[bool, typer.Option("--apply", help="Correct differences: hand Stripe's objects to the intake.")] = False,
    account: Annotated[str | None, typer.Option("--account", help="The connected account to compare, acct_….")] = None,
    wait: Annotated[str, typer.Option("--wait", help="With --apply: how long to wait for the workers.")] = "1m",
    as_json: Json = False,
) -> None:
    """
    Compare payments, refunds, disputes, invoices and subscriptions with Stripe's lists.

    The exit code is 0 if both sides are equal at the end, and 1 if something differs or cannot be compared. Without --apply
    nothing is changed; after a run with it, a second run finds no difference.
    """
    from operations.backfill.settings import StripeSettings
    from operations.reconcile.lists import StripeLists
    from operations.reconcile.run import Report

    options = _options(since, until, wait, account, apply=apply)
    settings = StripeSettings.load(environment())
    if not settings.stripe_api_key:
        raise CommandError("STRIPE_API_KEY is not set: set it to a secret or restricted key that may read the compared objects")
    lists = StripeLists(
        settings.stripe_api_key[0].value, settings.stripe_api_base, account=account, rate=settings.stripe_api_rate
    )
    if settings.stripe_mode != "any" and lists.livemode is not None and lists.livemode != (settings.stripe_mode == "live"):
        raise CommandError(f"STRIPE_API_KEY is not a key of the mode of STRIPE_MODE={settings.stripe_mode}")
    report = Report(since=options.since, until=options.until, apply=apply)
    _run(lists, options, report)
    _print_report(report, as_json=as_json)
    if not report.equal:
        raise typer.Exit(1)


def _options(since: str, until: str, wait: str, account: str | None, *, apply: bool) -> "Options":
    from operations.reconcile.run import Options

    begin, end = parse_period(("--from", since), ("--to", until), datetime.now(UTC))
    try:
        patience = parse_duration(wait)
    except ValueError as error:
        raise CommandError(f"--wait: {error}") from error
    assert isinstance(patience, timedelta)  # noqa: S101  # narrows the type
    return Options(begin, end, apply, account, patience, operator())


def _run(lists: "StripeLists", options: "Options", report: "Report") -> None:
    from operations.reconcile.run import reconcile as go

    with bar("reading from Stripe") as shown:

        async def work(connection: "AsyncConnection") -> None:
            await go(connection, lists, options, report, lambda at: shown(description=at))

        with_database(work)


def _print_report(report: "Report", *, as_json: bool) -> None:
    import msgspec

    data: dict[str, Any] = msgspec.to_builtins(report) | {"remaining": report.remaining, "equal": report.equal}
    show(data, "\n".join(_lines(report)), as_json=as_json)


def _lines(report: "Report") -> list[str]:
    counted = ", ".join(f"{number:,} {kind}s" for kind, number in report.compared.items())
    total = sum(report.found.values())
    lines = [f"{report.since:%Y-%m-%d %H:%M}Z to {report.until:%Y-%m-%d %H:%M}Z, compared with Stripe: {counted}"]
    lines += [f"  {_line(each)}" for each in report.differences[:_SHOWN]]
    if total > _SHOWN:
        lines.append(f"  … and {total - min(_SHOWN, len(report.differences)):,} more: --json lists up to 1,000")
    lines += [f"  {each.kind}s could not be compared: {each.reason}: {each.detail}" for each in report.uncompared]
    lines += [f"{number:,} {_WORDS[what]}" for what, number in report.found.items()]
    if report.apply:
        lines.append(f"{report.handed_in:,} handed to the intake, {report.mended:,} of them corrected by now")
    if report.waited_for:
        lines.append(f"{report.waited_for:,} events are not handled yet: run the command again later, or see `tallyhook ledger`")
    return [*lines, _verdict(report)]


def _verdict(report: "Report") -> str:
    if report.equal:
        return "both sides are equal"
    if report.remaining:
        return f"{report.remaining:,} differences remain" + ("" if report.apply else ": --apply corrects those that Stripe has")
    return "all objects that could be compared are equal"


def _line(each: "Difference") -> str:
    fields = ", ".join(f"{name} {_text_of(ours)} → {_text_of(theirs)}" for name, (ours, theirs) in each.fields.items())
    if each.what == "missing_here":
        fields = ", ".join(f"{name} {_text_of(theirs)}" for name, (_, theirs) in each.fields.items())
    text = f"{each.kind} {each.id} {_WORDS[each.what]}" + (f": {fields}" if fields else "")
    return f"{text} (corrected)" if each.mended else text


def _text_of(value: Any) -> str:
    return "-" if value is None else str(value)
