"""The records that have an end besides the daily tables: one list for the upkeep of relays and for `tallyhook retention`."""

from collections.abc import Mapping

from console.sessions import forget_keys
from gateway.commands.idempotency_store import forget_expired
from gateway.secrets.uses import forget_uses
from operations.webhook_replay.jobs import forget_replays
from outbox.upkeep import Deletion
from projections.retention import RecordSettings, forgetting


def deletions(environ: Mapping[str, str]) -> tuple[Deletion, ...]:
    """
    Return what deletes keys of idempotency and of the console, replays, uses of secrets, leads and notifications.

    Raises SettingsError.
    """
    return (
        lambda connection, due: forget_expired(connection, due.reached),
        lambda connection, due: forget_replays(connection, due.before),
        lambda connection, due: forget_uses(connection, due.reached),
        lambda connection, _: forget_keys(connection),
        forgetting(RecordSettings.load(environ)),
    )
