"""The pauses of the supervisor between restarts."""

from __future__ import annotations

from datetime import timedelta
from itertools import accumulate, repeat

from ops.stack.supervisor import FIRST_PAUSE, LONGEST_PAUSE, STEADY_AFTER, pause_after

AT_ONCE = timedelta()


def test_the_first_death_is_followed_by_the_shortest_pause() -> None:
    assert pause_after(None, AT_ONCE) == FIRST_PAUSE


def test_the_pause_doubles_up_to_its_limit() -> None:
    pauses = list(accumulate(repeat(None, 6), lambda pause, _: pause_after(pause, AT_ONCE), initial=FIRST_PAUSE))
    assert [pause.total_seconds() for pause in pauses] == [0.5, 1, 2, 4, 8, 10, 10]
    assert pauses[-1] == LONGEST_PAUSE


def test_a_steady_life_is_followed_by_the_shortest_pause_again() -> None:
    assert pause_after(LONGEST_PAUSE, STEADY_AFTER) == FIRST_PAUSE
