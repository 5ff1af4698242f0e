"""The rejected deliveries that are kept when there are too many."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gateway.webhooks.worth import Shortlist, Worth, choose


class Row(NamedTuple):
    id: UUID
    client: str
    worth: int
    size: int = 1


def rows(client: str, number: int, worth: Worth = Worth.EVENT, *, first: int = 0, size: int = 1) -> list[Row]:
    return [Row(UUID(int=first + n), client, worth, size) for n in range(number)]


def test_one_client_may_use_all_room_that_no_other_needs() -> None:
    only = rows("a", 10)
    assert choose(only, 4) == only[:4]


def test_a_new_client_comes_before_the_second_one_of_another_however_late_it_is() -> None:
    late = rows("b", 2, first=100)
    assert choose(rows("a", 50) + late, 4) == [*rows("a", 1), late[0], rows("a", 2)[1], late[1]]


def test_better_proof_comes_before_every_turn() -> None:
    proven, event = rows("a", 3, Worth.PROVEN, first=100), rows("b", 3, first=50)
    strangers = [row for n in range(20) for row in rows(f"s{n}", 1, Worth.SIGNED, first=n)]
    assert choose(strangers + event + proven, 7) == [*proven, *event, strangers[0]]


CROWD = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Worth)), max_size=40)


@given(crowd=CROWD, room=st.integers(0, 20), cut=st.integers(0, 40))
def test_the_number_of_writes_does_not_matter(crowd: list[tuple[str, Worth]], room: int, cut: int) -> None:
    """Each write chooses among kept and new rows: a row that an earlier write dropped would not be chosen now either."""
    everybody = [Row(UUID(int=n), client, worth) for n, (client, worth) in enumerate(crowd)]
    at_once = choose(everybody, room)
    assert choose(choose(everybody[:cut], room) + everybody[cut:], room) == at_once


def test_waiting_rows_are_limited_in_number_and_bytes_and_those_of_most_worth_stay() -> None:
    waiting: Shortlist[Row] = Shortlist()
    [real] = rows("real", 1, first=10**6)
    gone = [left for row in [*rows("flood", 5000), real] for left in waiting.offer(row)]
    assert len(waiting) <= 400
    assert len(waiting) + len(gone) == 5001
    assert real in waiting

    heavy: Shortlist[Row] = Shortlist()
    for row in [*rows("flood", 200, size=250_000), real]:
        heavy.offer(row)
        assert sum(each.size for each in heavy) <= 17 * 1024 * 1024
    assert real in heavy
