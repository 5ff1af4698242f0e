"""The decision about a row that Kafka has refused, as a pure function."""

from typing import Final, NamedTuple

from confluent_kafka import KafkaError

UNREADABLE: Final = "row_unreadable"
"""The values of the row do not make a record."""
MISSING: Final = "event_missing"
"""The log holds no event for the row."""


class Park(NamedTuple):
    """Park the row under this reason: sending it again cannot help."""

    reason: str


class Resend(NamedTuple):
    """Leave the row in line; it is sent again, with all that followed it, from a new producer session."""

    reason: str


class Isolate(NamedTuple):
    """Send again one by one: Kafka refuses whole batches, so only a row that was alone is known to be the culprit."""

    reason: str


# Refusals that speak of the topic: the same for every record of it.
_TOPIC: Final = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "topic_unknown",
    KafkaError._UNKNOWN_TOPIC: "topic_unknown",  # noqa: SLF001  # confluent names its local codes with an underscore
    KafkaError._UNKNOWN_PARTITION: "topic_unknown",  # noqa: SLF001
    KafkaError.TOPIC_EXCEPTION: "topic_invalid",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic_forbidden",
}
# Refusals that speak of a record, but are answered to all that share its batch.
_RECORD: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE: "record_too_large",
    KafkaError.RECORD_LIST_TOO_LARGE: "record_too_large",
    KafkaError.INVALID_RECORD: "record_invalid",
    KafkaError.INVALID_MSG: "record_invalid",
    KafkaError.POLICY_VIOLATION: "record_invalid",
    KafkaError._INVALID_ARG: "record_invalid",  # noqa: SLF001  # the client's own word: no such record can be produced
}


def decide(error: KafkaError | Exception, *, alone: bool) -> Park | Isolate | Resend:
    """Park what can never be sent, find the one among many, and send everything else again."""
    if not isinstance(error, KafkaError):
        return Park(UNREADABLE)  # what our own code or the client raised as it made the record
    code = error.code()
    if code in _TOPIC:
        return Park(_TOPIC[code])
    if code in _RECORD:
        return Park(_RECORD[code]) if alone else Isolate(_RECORD[code])
    return Resend(error.name().lower().lstrip("_"))
