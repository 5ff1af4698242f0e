"""What to do when Kafka refuses: a pure decision."""

from typing import Final, NamedTuple

from confluent_kafka import KafkaError


class Park(NamedTuple):
    """Set the row aside under this reason: sending it again cannot help."""

    reason: str


class Resend(NamedTuple):
    """Leave the row where it is and send it again, after the producer is made anew where it is broken."""

    reason: str
    renew_producer: bool


# Refusals that speak of the record or its topic, not of the moment.
_FINAL: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE: "record_too_large",
    KafkaError.RECORD_LIST_TOO_LARGE: "record_too_large",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "topic_unknown",
    KafkaError._UNKNOWN_TOPIC: "topic_unknown",  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION: "topic_unknown",  # noqa: SLF001
    KafkaError.TOPIC_EXCEPTION: "topic_invalid",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic_forbidden",
    KafkaError.INVALID_RECORD: "record_invalid",
    KafkaError.INVALID_MSG: "record_invalid",
    KafkaError.POLICY_VIOLATION: "record_invalid",
}


def decide(error: KafkaError) -> Park | Resend:
    """Park what Kafka will refuse for ever; everything else is sent again."""
    reason = _FINAL.get(error.code())
    if reason is not None and not error.fatal():
        return Park(reason)
    return Resend(error.name().lower().lstrip("_"), renew_producer=error.fatal())
