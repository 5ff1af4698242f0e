"""What has an end besides the daily tables: the one list that the relays' upkeep and `tallyhook retention` go by."""

from collections.abc import Mapping

from outbox.idempotency import forget_expired
from outbox.replays import forget_replays
from outbox.secret_uses import forget_uses
from outbox.upkeep import Forget
from projections.retention import RecordSettings, forgetting


def forgets(environ: Mapping[str, str]) -> tuple[Forget, ...]:
    """Idempotency keys, replays, uses of secrets, leads and notifications. Raises SettingsError."""
    return (
        lambda connection, due: forget_expired(connection, due.reached),
        lambda connection, due: forget_replays(connection, due.before),
        lambda connection, due: forget_uses(connection, due.reached),
        forgetting(RecordSettings.load(environ)),
    )
