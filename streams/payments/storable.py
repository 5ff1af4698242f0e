"""Facts without the texts that Postgres cannot hold: a NUL in an optional field must not cost the payment."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import structlog

from schemas.text import is_storable
from streams.errors import Poison, PoisonReason
from streams.payments.facts import Fact

log = structlog.get_logger()

AnyFact = TypeVar("AnyFact", bound=Fact)


def storable(fact: AnyFact) -> tuple[AnyFact, list[str]]:
    """
    The fact, and the names of the fields whose text was left out of it.

    Raises Poison `text_unstorable` if the field is required: an id, a status or a currency.
    """
    optional = {field.name: getattr(fact, field.name) for field in msgspec.structs.fields(fact) if field.default is None}
    left_out = [name for name, value in optional.items() if not is_storable(value)]
    kept = msgspec.structs.replace(fact, **dict.fromkeys(left_out))
    if not is_storable(msgspec.structs.astuple(kept)):
        raise Poison(PoisonReason.TEXT_UNSTORABLE, "a text that has to be stored holds a NUL, which Postgres cannot")
    return kept, left_out


def note_left_out(names: Sequence[str], **event: object) -> None:
    """Log the fields that were left out of an event's effects, with what identifies the event."""
    if names:
        log.warning("words_left_out", fields=names, **event)
