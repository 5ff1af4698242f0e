"""What an event of Acme Pay, a provider that tests make up, means: one fact of its payment."""

from typing import Final

from schemas.acme import HANDLED_TYPES, AcmeEvent

from schemas.foreign_json import UNREADABLE, Decoder
from streams.errors import Poison, PoisonReason
from streams.payments.facts import Fact, Money, PaymentFact, Stamp

_decoder: Final = Decoder(AcmeEvent)


def facts_of(kind: str, body: bytes) -> list[Fact]:
    if kind not in HANDLED_TYPES:
        return []
    try:
        event = _decoder.decode(body)
    except UNREADABLE as error:
        raise Poison(PoisonReason.EVENT_MALFORMED, str(error)) from error
    paid = event.kind == "charge.paid"
    amount = Money(event.amount, event.currency)
    return [
        PaymentFact(
            provider="acme",
            id=event.charge,
            stamp=Stamp(event.at, 1 if paid else 0, event.id),
            progress=None if paid else "failed",
            requested=amount,
            captured=amount if paid else None,
        )
    ]
