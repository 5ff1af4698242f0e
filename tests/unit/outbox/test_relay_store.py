"""A relay's shards as parameters for Postgres."""

import pytest

from outbox.relay_store import _bits


@pytest.mark.parametrize(
    ("shards", "bits"), [([], 0), ([0], 1), ([1, 3], 10), ([63], -(2**63)), ([0, 63], 1 - 2**63), (range(64), -1)]
)
def test_shards_are_the_bits_of_a_signed_number(shards: list[int], bits: int) -> None:
    assert _bits(shards) == bits
    assert [shard for shard in range(64) if (bits >> shard) & 1] == [*shards]
