"""The base of every failure that has a stable reason, and the reasons of this package."""

from enum import StrEnum
from typing import Generic, TypeVar

WordT = TypeVar("WordT", bound=StrEnum)


class Reason(StrEnum):
    """The reasons of failures that every process can have."""

    SETTINGS_INVALID = "settings_invalid"
    CANNOT_LISTEN = "cannot_listen"
    SCHEMA_MISSING = "schema_missing"
    SCHEMA_BEHIND = "schema_behind"
    SCHEMA_AHEAD = "schema_ahead"
    LEASE_LOST = "lease_lost"
    SECRET_REFUSED = "secret_refused"  # noqa: S105  # a word
    SEAL_KEYS_MISSING = "seal_keys_missing"
    SEAL_UNREADABLE = "seal_unreadable"


class Failure(Exception, Generic[WordT]):
    """
    A failure that the code expects: its reason, and a detail for people.

    The reason is the same word in the answer, the log, the metric, the test and the runbook. Each package lists its reasons in a
    StrEnum and has its own base, `class StreamError(Failure[Reason])`, so that mypy refuses a word that is not listed.
    """

    def __init__(self, reason: WordT, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
