"""The two ways in which an event can fail (not now, or never), and the reasons for each."""

from collections.abc import Collection
from enum import StrEnum
from uuid import UUID

from runtime.errors import Failure, WordT
from runtime.redaction import error_text
from schemas.errors import Reason as SchemaReason


class TransientReason(StrEnum):
    """The reasons why a batch waits and is tried again."""

    ANSWER_UNDECIDED = "answer_undecided"
    ELASTICSEARCH_REFUSES = "elasticsearch_refuses"
    ELASTICSEARCH_UNAVAILABLE = "elasticsearch_unavailable"
    REDIS_UNAVAILABLE = "redis_unavailable"


class PoisonReason(StrEnum):
    """The reasons why an event becomes a dead letter, beside those of schemas and of fetches."""

    DOCUMENT_REFUSED = "document_refused"
    EVENT_ID_UNORDERED = "event_id_unordered"
    EVENT_MALFORMED = "event_malformed"
    EVENT_MISLABELED = "event_mislabeled"
    EVENT_OUTSIDE_RETENTION = "event_outside_retention"
    EVENT_UNEXPECTED = "event_unexpected"
    HANDLER_FAILED = "handler_failed"
    TEXT_UNSTORABLE = "text_unstorable"
    VALUE_MISSING = "value_missing"


class FetchReason(StrEnum):
    """The reasons why an object is not fetched from Stripe's API; after the last attempt its thin event is a dead letter."""

    ANSWER_MALFORMED = "answer_malformed"
    ANSWER_MISMATCHED = "answer_mismatched"
    ANSWER_TOO_EARLY = "answer_too_early"
    ANSWER_TOO_LARGE = "answer_too_large"
    API_KEY_OF_OTHER_MODE = "api_key_of_other_mode"
    FETCH_FAILED = "fetch_failed"
    OBJECT_NOT_FOUND = "object_not_found"
    STRIPE_CALLED_TOO_OFTEN = "stripe_called_too_often"
    STRIPE_FAILED = "stripe_failed"
    STRIPE_KEY_REFUSED = "stripe_key_refused"
    STRIPE_REFUSES = "stripe_refuses"
    STRIPE_SLOW = "stripe_slow"
    STRIPE_UNREACHABLE = "stripe_unreachable"


class StreamError(Failure[WordT]):
    """
    Base of this package's errors.

    The detail is stored and shown to operators: what it quotes from another error holds none of our secrets or Postgres' rows.
    """

    def __init__(self, reason: WordT, detail: str) -> None:
        super().__init__(reason, error_text(detail))


class Transient(StreamError[TransientReason]):
    """A server that the work needs is unavailable: the same batch is tried again, with backoff, and the partition waits."""


class Poison(StreamError[PoisonReason | FetchReason | SchemaReason]):
    """
    This event can never be handled: it becomes a dead letter with its reason, and the partition goes on.

    `others` are further events of the batch that fail too, each for its own reason: they need not be found one after another.
    """

    def __init__(
        self,
        reason: PoisonReason | FetchReason | SchemaReason,
        detail: str,
        event_id: UUID | None = None,
        others: Collection[UUID] = (),
    ) -> None:
        super().__init__(reason, detail)
        self.event_id = event_id
        self.others = others
