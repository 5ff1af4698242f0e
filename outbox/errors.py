"""The failures of this package."""

from datetime import timedelta
from enum import StrEnum

from runtime.errors import Failure


class Reason(StrEnum):
    """The reasons of this package's failures."""

    CLOCK_SKEWED = "clock_skewed"
    KAFKA_UNAVAILABLE = "kafka_unavailable"
    KAFKA_REFUSED = "kafka_refused"
    TOPIC_REFUSED = "topic_refused"


class OutboxError(Failure[Reason]):
    """The base of this package's failures."""


class BrokerError(OutboxError):
    """Kafka did not answer (`kafka_unavailable`), or refused (`kafka_refused`, `topic_refused`)."""


class ClockSkewed(OutboxError):
    """The clock of this process and that of Postgres differ by more than a minute."""

    def __init__(self, skew: timedelta) -> None:
        seconds = skew.total_seconds()
        direction = "ahead of" if seconds > 0 else "behind"
        super().__init__(Reason.CLOCK_SKEWED, f"the clock of this machine is {abs(seconds):.0f} s {direction} Postgres' clock")
        self.skew = skew
