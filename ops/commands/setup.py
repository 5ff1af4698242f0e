"""The commands of a deployment and its upkeep: migrations, partitions, topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from operations.output import Json, database, operator, show
from runtime.settings import environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from outbox.partitions import Detached, Upkeep


def migrate(as_json: Json = False) -> None:
    """Migrate the database to the newest revision and create its daily partitions."""
    from migrations import chain
    from outbox.settings import RetentionSettings
    from outbox.upkeep import make_days_ahead

    settings = RetentionSettings.load(environment())
    before, after = chain.upgrade(settings.database_url)
    upkeep = make_days_ahead(settings)
    show(
        {"before": before, "after": after, "partitionsCreated": len(upkeep.created)},
        f"database at revision {after}" + (" already" if before == after else f", was {before or 'empty'}"),
        as_json=as_json,
    )


def retention(
    yes: Annotated[bool, typer.Option("--yes", help="Drop everything that is due at once, not one day at a time.")] = False,
    as_json: Json = False,
) -> None:
    """
    Create the partitions of the coming days, detach expired ones, and delete expired records. Relays do this every hour.

    A detached day is dropped after RETENTION_GRACE. Until then it is attached again if RETENTION_DAYS covers it again.
    """
    from gateway.audit_log import note_command_now
    from ops.processes.deletions import deletions
    from outbox import partitions
    from outbox.settings import RetentionSettings
    from outbox.upkeep import keep_partitions

    settings = RetentionSettings.load(environment())
    database().close()  # so that the schema is checked
    done = keep_partitions(settings, *deletions(environment()), all_due=yes)
    with database() as connection:
        note_command_now(connection, f"tallyhook retention{' --yes' if yes else ''}", operator())
        away = partitions.detached(connection)
    data = done._asdict() | {
        "away": [{"partition": each.partition, "dropAfter": each.detached_at + settings.retention_grace} for each in away]
    }
    show(data, _text(done, away, settings.retention_grace), as_json=as_json)


def _text(done: Upkeep, away: Sequence[Detached], grace: timedelta) -> str:
    kept = f"partitions: {len(done.created)} created, {len(done.restored)} back in use, {len(done.detached)} out of use"
    lines = [f"{kept}, {len(done.dropped)} dropped, {len(done.deferred)} due but in use"]
    if done.behind:
        lines.append(f"{done.behind} more days are due, and one goes out of use each hour; --yes takes them all out of use now")
    lines += [f"out of use: {each.partition}, to be dropped after {each.detached_at + grace:%Y-%m-%d %H:%M} UTC" for each in away]
    return "\n".join(lines)


app = typer.Typer(no_args_is_help=True, help="Create the Kafka topics of Tallyhook.")


@app.command("ensure")
def ensure(
    replication: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Copies of each topic that is created; default: KAFKA_REPLICATION_FACTOR."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing and add partitions where there are too few; never removes any."""
    from outbox import topics
    from outbox.settings import TopicSettings

    environ = environment()
    settings = TopicSettings.load(environ | ({"KAFKA_REPLICATION_FACTOR": str(replication)} if replication else {}))
    done = topics.ensure(settings.kafka, settings.kafka_replication_factor, settings.kafka_min_insync_replicas)
    text = f"topics: {len(done.created)} created, {len(done.grown)} grown, {len(done.kept)} as they should be"
    show(done._asdict(), text, as_json=as_json)
