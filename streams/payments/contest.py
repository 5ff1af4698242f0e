"""
Finds events of one second that change the same part of a state to different values, so that neither is known to be the later.

The fold still has one answer, the same in any order; but it may be the wrong one. Pure functions.
"""

from typing import Any, Final

import msgspec

from streams.payments.facts import Fact, SubscriptionFact
from streams.payments.fold import candidates_of, fold
from streams.payments.states import State, SubscriptionState

# What another object says of it counts only until it speaks for itself, so that asking for it would decide nothing.
_SECOND_HAND: Final = frozenset({"hinted", "vouched"})


def is_contested(old: State | None, fact: Fact) -> bool:
    """Return True if the fact cannot be put in order with what the state has from an event of the same second."""
    if old is None or fact.stamp.at > old.updated:
        return False
    if isinstance(fact, SubscriptionFact):
        return _is_open(fold(old, fact), fact)
    stated = fold(None, fact)
    names = (field.name for field in msgspec.structs.fields(old) if field.name not in _SECOND_HAND)
    return any(_differ(getattr(old, name), getattr(stated, name)) for name in names)


def _is_open(new: State, fact: SubscriptionFact) -> bool:
    """Return True if the order of a subscription's events is undecided: an event's previous values may have decided it."""
    if not isinstance(new, SubscriptionState) or fact.stamp.at != new.standing.stamp.at:
        return False
    last = candidates_of((new.standing, *new.rivals))
    return len({(each.status, each.current_period_end) for each in last}) > 1


def _differ(had: Any, stated: Any) -> bool:
    """Two parts of a state, each with its stamp first: of one second and one rank, of two events, and not the same."""
    if not isinstance(had, tuple) or not isinstance(stated, tuple) or not had or not stated:
        return False
    stamp, other = getattr(had, "stamp", None), getattr(stated, "stamp", None)
    if stamp is None or other is None or stamp[:2] != other[:2] or stamp.event == other.event:
        return False
    return had[1:] != stated[1:]
