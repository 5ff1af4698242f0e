"""What a deployment and its upkeep run: migrations, partitions."""

from ops.commands.output import Json, show
from runtime.settings import environment


def migrate(as_json: Json = False) -> None:
    """Bring the database to the newest revision, and make its daily partitions."""
    from migrations import chain
    from outbox.process import keep_partitions
    from outbox.settings import RetentionSettings

    settings = RetentionSettings.load(environment())
    before, after = chain.upgrade(settings.database_url)
    upkeep = keep_partitions(settings)
    show(
        {"before": before, "after": after, "partitionsCreated": len(upkeep.created)},
        f"database at revision {after}" + (" already" if before == after else f", was {before or 'empty'}"),
        as_json=as_json,
    )


def retention(as_json: Json = False) -> None:
    """Make the partitions of the days ahead; drop those, and delete records, beyond their time. Relays do the same every hour."""
    from outbox.process import keep_partitions
    from outbox.settings import RetentionSettings
    from projections.retention import RecordSettings, forgetting

    done = keep_partitions(RetentionSettings.load(environment()), forgetting(RecordSettings.load(environment())))
    text = f"partitions: {len(done.created)} created, {len(done.dropped)} dropped, {len(done.deferred)} due but in use"
    show(done._asdict(), text, as_json=as_json)
