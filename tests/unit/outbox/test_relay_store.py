"""The shards of a relay in its statements."""

from typing import Any

import pytest

from outbox.relay_store import Pending, Room, _bits, read_pending


@pytest.mark.parametrize(
    ("shards", "bits"), [([], 0), ([0], 1), ([1, 3], 10), ([63], -(2**63)), ([0, 63], 1 - 2**63), (range(64), -1)]
)
def test_shards_are_the_bits_of_a_signed_number(shards: list[int], bits: int) -> None:
    assert _bits(shards) == bits
    assert [shard for shard in range(64) if (bits >> shard) & 1] == [*shards]


def test_without_shards_nothing_is_read() -> None:
    """Postgres would look for a row of no shard in the whole work list."""
    no_connection: Any = None
    assert read_pending(no_connection, [], [], Room(rows=10, size=1000)) == Pending([], [])
