"""An event of Acme Pay, a provider that tests make up: a payment and its state."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from schemas.providers import Message, Provider, Seconds, Signature, WebhookSecret, Word

TYPE_PREFIX: Final = "com.acme."
DATASCHEMA: Final = "urn:tallyhook:com.acme.event:1"
HANDLED_TYPES: Final = frozenset({"charge.paid", "charge.declined"})


class AcmeEvent(msgspec.Struct, frozen=True):
    """The signed body of one delivery; amounts are in minor units."""

    id: Word
    kind: Word
    at: Seconds
    charge: Word
    amount: int
    currency: str

    @property
    def occurred_at(self) -> datetime:
        return datetime.fromtimestamp(self.at, tz=UTC)


PROVIDER: Final = Provider(
    name="acme",
    title="Acme Pay",
    type_prefix=TYPE_PREFIX,
    handled_types=HANDLED_TYPES,
    messages=(Message("com.acme.event", AcmeEvent, DATASCHEMA, sorted(HANDLED_TYPES)),),
    examples=(AcmeEvent(id="aev_1Q", kind="charge.paid", at=1_795_514_400, charge="acp_1Q", amount=4990, currency="eur"),),
    description="Take an event that Acme Pay has signed. 200 means committed; a copy of a known event is a `duplicate`.",
    signature=Signature("Acme-Signature", "`<hex>`: HMAC-SHA256 of the raw body under the webhook's secret.", timed=False),
    secret=WebhookSecret(
        expected="the secret that Acme Pay shows for its webhook",
        overlap=timedelta(hours=2),
        steps=("{first}", "Set it at Acme Pay.", "{last}"),
        prefix="acs_",
    ),
    gives_up=timedelta(hours=6),
    id_prefixes=("acp", "aev"),
    account_prefix="aca_",
)
