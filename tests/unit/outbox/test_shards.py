"""Relays distribute the shards so that each is owned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.shards import SHARDS, fair_share


@pytest.mark.parametrize(("relays", "share"), [(0, 64), (1, 64), (2, 32), (3, 22), (5, 13), (63, 2), (64, 1), (65, 1), (1000, 1)])
def test_a_fair_share_is_rounded_up(relays: int, share: int) -> None:
    assert fair_share(relays) == share


@given(st.integers(1, 1000))
def test_the_shares_of_all_relays_cover_every_shard(relays: int) -> None:
    assert fair_share(relays) * relays >= SHARDS


def test_the_number_of_shards_never_changes() -> None:
    assert SHARDS == 64
