"""
The refunded amount of a payment: the sum of its refunds, kept within the bounds of the provider's running total.

A refund counts from the moment it exists until it has failed or was canceled, which is final. The running total is the amount
that had been refunded by its own moment, unknown refunds included; so each refund is put before or after that moment. One that
was made later is added to the total, one that failed later is subtracted. If the second is the same, or the provider does not
state when a refund was made, both are possible, and the sum of the refunds decides between the two.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from streams.payments.facts import Stamp, StatedRefund, Total


class MergedRefund(NamedTuple):
    """
    One refund of a payment, by all events together.

    `created` is the time at which the provider made it, `seen` the time of the earliest event in which it had not failed, `gone`
    the time of the earliest event in which it had: Unix seconds, each None if no event has stated it.
    """

    stamp: Stamp
    amount: int
    created: int | None = None
    seen: int | None = None
    gone: int | None = None


def merge(known: Mapping[str, MergedRefund], stamp: Stamp, stated: Iterable[StatedRefund]) -> dict[str, MergedRefund]:
    """Return the refunds after one more event that states some of them; the same for every order and any repetition."""
    refunds = dict(known)
    for each in stated:
        given = MergedRefund(
            stamp,
            each.amount,
            created=each.created,
            seen=None if each.gone else stamp.at,
            gone=stamp.at if each.gone else None,
        )
        before = refunds.get(each.id, given)
        refunds[each.id] = MergedRefund(
            *max(before[:2], given[:2]),
            created=_earlier(before.created, given.created),
            seen=_earlier(before.seen, given.seen),
            gone=_earlier(before.gone, given.gone),
        )
    return refunds


class Totals(NamedTuple):
    """
    The provider's totals of the latest second in which it stated any: Unix seconds, and minor units.

    `made` is the greatest that came with a new refund, since refunds add to it, and `left` the smallest that came with any other
    change, since failures subtract from it.
    """

    at: int
    made: int | None = None
    left: int | None = None

    @property
    def greatest(self) -> int:
        return max(self.made or 0, self.left or 0)


def latest(known: Totals | None, total: Total | None) -> Totals | None:
    """Return the totals after one more; the same for every order and any repetition."""
    if total is None:
        return known
    one = Totals(total.at, left=total.amount) if total.after_failures else Totals(total.at, made=total.amount)
    if known is None or known.at != one.at:
        return one if known is None or known.at < one.at else known
    made = [each for each in (known.made, one.made) if each is not None]
    left = [each for each in (known.left, one.left) if each is not None]
    return Totals(one.at, max(made, default=None), min(left, default=None))


_RELEASED_WITHIN: Final = 5  # seconds; Stripe makes the refund of a release in the call that captures


def without_release(refunds: Iterable[MergedRefund], released: int, captured_at: int) -> list[MergedRefund]:
    """
    Return the refunds without the one that Stripe makes of what a partial capture releases: that amount was never paid.

    No field marks it. It has the amount that was not captured, and was made at the capture; `captured_at` is the first second in
    which the provider has stated the captured amount. A later refund of the same amount is the merchant's: since its API of
    2025-03-31 Stripe makes none of a release.
    """
    given = list(refunds)
    until = captured_at + _RELEASED_WITHIN
    candidates = [
        refund for refund in given if released and refund.amount == released and refund.gone is None and _began(refund) <= until
    ]
    if candidates:
        given.remove(min(candidates, key=_began))
    return given


def _began(refund: MergedRefund) -> int:
    began = refund.seen if refund.created is None else refund.created
    return began or 0


def refunded_amount(totals: Totals | None, refunds: Iterable[MergedRefund], total_before: int = 0, *, apart: int = 0) -> int:
    """
    Return the amount whose refunds did not fail; `total_before` is a total of unknown time, used if there is no other.

    `apart` is what the totals may lack, since it was subtracted as a released amount that they may not have included.
    """
    given = list(refunds)
    refunded = sum(refund.amount for refund in given if refund.gone is None)
    if totals is None:
        return max(refunded, total_before - sum(refund.amount for refund in given if refund.gone is not None))
    bounds = [_bounds(total, given) for total in _candidates(totals, given)]
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds) + apart
    return max(min(max(refunded, low), high), 0)


def _candidates(totals: Totals, given: list[MergedRefund]) -> list[Total]:
    """The possible values of the last total: if a refund was made in its second and none failed, another change came before."""
    candidates = [] if totals.made is None else [Total(totals.at, totals.made)]
    if totals.left is not None and (totals.made is None or any(refund.gone == totals.at for refund in given)):
        candidates.append(Total(totals.at, totals.left, after_failures=True))
    return candidates


def _bounds(total: Total, given: list[MergedRefund]) -> tuple[int, int]:
    changes = [_change(refund, total) for refund in given]
    return total.amount + sum(least for least, _ in changes), total.amount + sum(most for _, most in changes)


def _change(refund: MergedRefund, total: Total) -> tuple[int, int]:
    """The least and the most that this refund adds to the total."""
    amount = refund.amount
    made_later = refund.created is not None and refund.created > total.at
    if refund.gone is not None:
        known_by_then = refund.gone < total.at or (refund.gone == total.at and total.after_failures)
        if known_by_then or made_later:
            return 0, 0
        return -amount, 0 if refund.created is None or refund.gone == total.at else -amount
    if made_later:
        return amount, amount
    began = refund.seen if refund.created is None else refund.created
    return 0, amount if began is None or began >= total.at else 0


def _earlier(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else min(one, other)
