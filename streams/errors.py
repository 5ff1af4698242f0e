"""The two ways in which an event can fail: not now, or never."""

from uuid import UUID

from runtime.redaction import error_text


class StreamError(Exception):
    """
    Base of this package's errors; `reason` is the stable word of log, metric, dead letter and runbook.

    The detail is stored and shown to operators: what it quotes of another error is free of our secrets and of Postgres' rows.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(error_text(detail))
        self.reason = reason


class Transient(StreamError):
    """Something we need is away: the same batch is tried again, with backoff, and the partition waits."""


class Poison(StreamError):
    """This event can never be handled: it is set aside with its reason and the partition goes on."""

    def __init__(self, reason: str, detail: str, event_id: UUID | None = None) -> None:
        super().__init__(reason, detail)
        self.event_id = event_id
