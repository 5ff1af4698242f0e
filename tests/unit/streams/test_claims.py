"""Claims are renewed in time, however many are added meanwhile, and a claim that was not renewed has lapsed."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from streams.claims import ClaimOver, Claims


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    times = [100.0]
    monkeypatch.setattr("streams.claims.now", lambda: times[0])
    return times


def test_held_claims_are_due_for_renewal_although_more_are_added(moment: list[float]) -> None:
    claims, first = Claims(timedelta(seconds=10)), uuid4()
    claims.take([first], moment[0])
    for _ in range(26):
        moment[0] += 0.1
        claims.take([], moment[0])
        claims.take([uuid4()], moment[0])
    assert claims.due
    claims.renew([first], moment[0])
    assert not claims.due


def test_a_claim_that_is_not_renewed_is_over(moment: list[float]) -> None:
    claims, kept, lost = Claims(timedelta(seconds=10)), uuid4(), uuid4()
    claims.take([kept, lost], moment[0])
    moment[0] += 14
    claims.check(lost)
    claims.renew([kept], moment[0])
    moment[0] += 2
    claims.check(kept)
    with pytest.raises(ClaimOver):
        claims.check(lost)
    claims.drop(kept)
    with pytest.raises(ClaimOver):
        claims.check(kept)
