"""The failures of this package, one list of reasons for all capabilities."""

from enum import StrEnum

from runtime.errors import Failure


class Reason(StrEnum):
    """The reasons why an operation is refused or fails."""

    # dead letters
    NOT_FOUND = "not_found"
    DEAD_LETTER_SETTLED = "dead_letter_settled"
    # erasure
    SUBJECT_MALFORMED = "subject_malformed"
    # files of operators
    FILE_MALFORMED = "file_malformed"
    FILE_UNREADABLE = "file_unreadable"
    # ledger
    PERIOD_MALFORMED = "period_malformed"
    PERIOD_NOT_KEPT = "period_not_kept"
    # replay of webhooks
    FILTER_MISSING = "filter_missing"
    FILTER_CONTRADICTORY = "filter_contradictory"
    REPLAY_TOO_LARGE = "replay_too_large"
    SOURCE_UNKNOWN = "source_unknown"
    BODY_NOT_KEPT = "body_not_kept"
    ERASED = "erased"
    # replay of offsets
    BOUND_MALFORMED = "bound_malformed"
    EVENTS_SKIPPED = "events_skipped"
    GROUP_LIVE = "group_live"
    NEVER_READ = "never_read"
    OFFSET_OUTSIDE_LOG = "offset_outside_log"
    PARTITION_UNKNOWN = "partition_unknown"
    RANGE_OUTSIDE_RETENTION = "range_outside_retention"
    SHADOW_IMPOSSIBLE = "shadow_impossible"
    TOPIC_MISSING = "topic_missing"
    TOPIC_NOT_READ = "topic_not_read"
    WORKER_UNKNOWN = "worker_unknown"
    # messages
    MESSAGE_UNREADABLE = "message_unreadable"
    # partners
    FIELD_INVALID = "field_invalid"
    CRM_URL_REFUSED = "crm_url_refused"
    PARTNER_ID_TAKEN = "partner_id_taken"
    PARTNER_IN_ENVIRONMENT = "partner_in_environment"
    SECRET_INVALID = "secret_invalid"  # noqa: S105  # a word for a refusal, not a secret
    SEAL_KEYS_MISSING = "seal_keys_missing"
    SEAL_UNREADABLE = "seal_unreadable"
    VERSION_STALE = "version_stale"
    # rebuild
    ELASTICSEARCH_UNAVAILABLE = "elasticsearch_unavailable"
    ERASURE_MEANWHILE = "erasure_meanwhile"
    LOCK_LIMIT_REACHED = "lock_limit_reached"
    PROJECTION_NOT_IN_LOG = "projection_not_in_log"
    PROJECTION_UNKNOWN = "projection_unknown"
    REBUILD_INCOMPLETE = "rebuild_incomplete"
    TABLE_MISSING = "table_missing"
    TABLES_BUSY = "tables_busy"
    # Stripe's API
    STRIPE_CALLED_TOO_OFTEN = "stripe_called_too_often"
    STRIPE_FAILED = "stripe_failed"
    STRIPE_KEY_REFUSED = "stripe_key_refused"
    STRIPE_KNOWS_NONE = "stripe_knows_none"
    STRIPE_REFUSES = "stripe_refuses"
    STRIPE_UNREACHABLE = "stripe_unreachable"


class OperationError(Failure[Reason]):
    """The operation is refused, or failed before it changed anything; the text says what to do."""
