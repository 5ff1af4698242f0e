"""The facts of Stripe's disputes."""

from typing import Final

from schemas.stripe import SOURCE
from streams.payments.facts import DisputeFact, Fact, Funds, Stamp, money
from streams.payments.stripe_objects import Dispute
from streams.payments.stripe_payments import payment_of

# Ranks within one second, by lifecycle: the status counts first (https://docs.stripe.com/api/disputes/object), then the type.
_DISPUTE_STEPS: Final = ("created", "updated", "funds_withdrawn", "funds_reinstated", "closed")
_DISPUTE_STATUSES: Final = ("warning_needs_response", "warning_under_review", "needs_response", "under_review")
_DISPUTE_ENDS: Final = frozenset({"won", "lost", "warning_closed", "charge_refunded", "prevented"})
_FUNDS: Final[dict[str, Funds]] = {
    "charge.dispute.funds_withdrawn": "withdrawn",
    "charge.dispute.funds_reinstated": "reinstated",
}


def of_dispute(dispute: Dispute, kind: str, at: int, event: str) -> list[Fact]:
    if dispute.id is None:
        return []
    closed = kind == "charge.dispute.closed"
    status = dispute.status or ("closed" if closed else "needs_response")
    ended = closed or status in _DISPUTE_ENDS
    return [
        DisputeFact(
            provider=SOURCE,
            id=dispute.id,
            stamp=Stamp(at, _dispute_rank(status, kind, ended=ended), event),
            status=status,
            ended=ended,
            amount=money(dispute.amount, dispute.currency),
            reason=dispute.reason,
            payment_id=payment_of(dispute.payment_intent, dispute.charge),
            # Stripe states 0 if the payer's bank takes no response.
            respond_by=(dispute.evidence_details.due_by or None) if dispute.evidence_details else None,
            funds=_FUNDS.get(kind),
        )
    ]


def _dispute_rank(status: str, kind: str, *, ended: bool) -> int:
    """The rank; a new word of the provider comes after those that we know, and an end after all others."""
    known = _DISPUTE_STATUSES.index(status) if status in _DISPUTE_STATUSES else len(_DISPUTE_STATUSES)
    return (len(_DISPUTE_STATUSES) + 1 if ended else known) * len(_DISPUTE_STEPS) + _DISPUTE_STEPS.index(kind.rpartition(".")[2])
