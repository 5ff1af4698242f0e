"""`tallyhook replay webhooks`, `show` and `cancel`: a running gateway replays deliveries, and the command shows the progress."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import msgspec
import typer

from operations.options import options_from
from operations.output import CommandError, Json, bar, operator, show, with_database
from operations.webhook_replay.filters import ReplayWebhooks

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from operations.webhook_replay.filters import Filters
    from operations.webhook_replay.jobs import Replay
    from operations.webhook_replay.preview import Preview
    from operations.webhook_replay.verification import Sources

_LOOK_EVERY: Final = 0.3
_QUIET: Final = 15.0  # seconds without progress after which a likely reason is printed
_LAST_ID: Final = UUID(int=(1 << 128) - 1)
_PAGE: Final = "runbooks/replay-webhooks.md"
_MODES: Final = {True: "  live", False: "  test", None: ""}

_ID: Final = "The id that `replay webhooks` printed."
Id = Annotated[UUID, typer.Argument(metavar="REPLAY_ID", help=_ID)]


@options_from(
    ReplayWebhooks, "ids", "source", "types", "status", "mode", "account", "endpoint", "from", "to", "limit", "rate", "reason"
)
def webhooks(
    asked: ReplayWebhooks,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the deliveries that match; change nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show the progress until the replay has ended.")] = True,
    as_json: Json = False,
) -> None:
    """
    Replay the deliveries that match all options; at least one filter is required.

    Deliveries that were not rejected are sent to Kafka again with the same ids, so effects are not repeated. Rejected ones are
    verified again with the present secrets of the gateway. A running gateway does the work.
    """
    if dry_run:
        found = with_database(lambda connection: _preview(connection, asked.filters))
        show(msgspec.to_builtins(found), _preview_text(found), as_json=as_json)
        return
    replay_id, matched = with_database(lambda connection: _begin(connection, asked))
    if not wait:
        data = {"replayId": str(replay_id), "matched": matched}
        show(
            data, f"replay {replay_id}: {matched} deliveries\nfollow it with: tallyhook replay show {replay_id}", as_json=as_json
        )
        return
    if not as_json:
        typer.echo(f"replay {replay_id}: {matched} deliveries", err=True)
    _print_replay(_followed(replay_id), as_json=as_json)


def show_replay(
    replay_id: Annotated[UUID | None, typer.Argument(metavar="REPLAY_ID", help=_ID)] = None, as_json: Json = False
) -> None:
    """Show the progress of a replay of webhooks; without an id, list the latest ones."""
    from operations.webhook_replay import jobs

    if replay_id is not None:
        _print_replay(with_database(lambda connection: _read(connection, replay_id)), as_json=as_json)
        return
    found = with_database(lambda connection: jobs.read_all(connection, _LAST_ID, 20))
    lines = [f"{each.replay_id}  {each.created_at:%Y-%m-%d %H:%M}  {_summary(each)}" for each in found]
    show({"items": msgspec.to_builtins(found)}, "\n".join(lines) or "there is no replay", as_json=as_json)


def cancel(replay_id: Id, as_json: Json = False) -> None:
    """Cancel a replay of webhooks: it sends no more deliveries; those that it has sent are still handled."""
    found = with_database(lambda connection: _cancel(connection, replay_id))
    show(msgspec.to_builtins(found), _summary(found), as_json=as_json)


async def _preview(connection: AsyncConnection, filters: Filters) -> Preview:
    from operations.webhook_replay.preview import preview

    async with connection.transaction():
        return await preview(connection, filters, await _sources(connection))


async def _sources(connection: AsyncConnection) -> Sources | None:
    """Return the sources of the gateway, or None if this environment lacks its settings."""
    from gateway.settings import GatewaySettings
    from gateway.webhooks.sources.live import LiveSources
    from projections.senders import Senders
    from runtime.settings import SettingsError, environment

    try:
        settings = GatewaySettings.load(environment())
    except SettingsError:
        return None
    senders = Senders.of(settings)
    await senders.refresh(connection)
    return LiveSources(settings, senders)


async def _begin(connection: AsyncConnection, asked: ReplayWebhooks) -> tuple[UUID, int]:
    """Create the job and its row in the audit log in one transaction."""
    from gateway.audit_log import note_command
    from operations.webhook_replay import jobs
    from runtime.ids import new_id

    replay_id = new_id()
    async with connection.transaction():
        by = operator()
        matched = await jobs.create(connection, replay_id, asked, by)
        await note_command(connection, f"tallyhook replay webhooks {replay_id}", by)
    return replay_id, matched


async def _cancel(connection: AsyncConnection, replay_id: UUID) -> Replay:
    from gateway.audit_log import note_command
    from operations.webhook_replay import jobs

    async with connection.transaction():
        cancelled = await jobs.cancel(connection, replay_id)
        found = await _read(connection, replay_id)
        if not cancelled and found.state != "cancelled":
            raise CommandError(f"replay_ended: the replay is already {found.state}")
        await note_command(connection, f"tallyhook replay cancel {replay_id}", operator())
    return found


async def _read(connection: AsyncConnection, replay_id: UUID) -> Replay:
    from operations.webhook_replay import jobs

    found = await jobs.read(connection, replay_id)
    if found is None:
        raise CommandError(f"not_found: no replay of webhooks has the id {replay_id}")
    return found


def _followed(replay_id: UUID) -> Replay:
    """Wait until the replay has ended and return it; on a terminal a progress bar is shown."""
    try:
        return with_database(lambda connection: _follow(connection, replay_id))
    except KeyboardInterrupt:
        typer.echo(f"the replay goes on; follow it with: tallyhook replay show {replay_id}", err=True)
        raise typer.Exit(130) from None


async def _follow(connection: AsyncConnection, replay_id: UUID) -> Replay:
    with bar("replay") as shown:
        seen, at, warned = -1, time.monotonic(), False
        while (found := await _read(connection, replay_id)).state == "running":
            ended = found.processed + found.unchanged + found.failed
            shown(total=found.matched, completed=ended, description=f"{found.in_flight} in flight")
            if (moved := found.enqueued + ended) != seen:
                seen, at, warned = moved, time.monotonic(), False
            elif not warned and time.monotonic() - at > _QUIET:
                warned = True
                print(f"tallyhook: {_why_quiet(found)}", file=sys.stderr)
            await asyncio.sleep(_LOOK_EVERY)
    return found


def _why_quiet(found: Replay) -> str:
    if found.waiting:
        return f"no progress: {found.waiting} deliveries wait for a gateway; is one running?"
    return f"no progress: {found.in_flight} deliveries wait for their worker; do the worker and the relay run?"


def _print_replay(found: Replay, *, as_json: bool) -> None:
    """Print the replay, and fail if a part of it failed."""
    lines = [f"replay {found.replay_id}: {_summary(found)}"]
    lines += [f"{number:>8}  {reason}" for reason, number in sorted(found.failures.items())]
    show(msgspec.to_builtins(found), "\n".join(lines), as_json=as_json)
    if found.failed or found.failure:
        raise CommandError(f"{found.failure or 'some failed'}: see {_PAGE}")


def _summary(found: Replay) -> str:
    parts = {
        "processed": found.processed,
        "unchanged": found.unchanged,
        "failed": found.failed,
        "in flight": found.in_flight,
        "waiting": found.waiting,
    }
    figures = ", ".join(f"{number} {name}" for name, number in parts.items() if number)
    return f"{found.state}, {found.matched} matched" + (f": {figures}" if figures else "")


def _preview_text(found: Preview) -> str:
    rejected = found.rejected
    lines = [
        f"{found.matched} match",
        f"{found.unchanged:>8}  have had their effects: they would change nothing",
        f"{found.unprocessed:>8}  have not had their effects, and would have them now",
        f"{rejected.matched:>8}  were rejected, and would be verified again",
    ]
    if found.dead_lettered:
        lines.append(f"{found.dead_lettered:>8}  are open dead letters, and would fail: tallyhook dead-letters retry")
    lines.append("by source, outcome and type:")
    lines += [
        f"{group.count:>8}  {group.source}  {group.outcome}  {group.type or '-'}{_MODES[group.livemode]}"
        for group in found.groups
    ]
    if rejected.checked:
        lines.append(f"of the rejected, {rejected.recoverable} of the {rejected.checked} that were checked verify now")
        lines += [f"{number:>8}  still {reason}" for reason, number in sorted(rejected.still_refused.items())]
    elif rejected.matched:
        lines.append("the rejected were not checked: this environment has no secrets of the gateway")
    return "\n".join([*lines, "nothing was changed"])
