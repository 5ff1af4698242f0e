"""A CRM that fails repeatedly gets no leads until a single probe succeeds."""

from __future__ import annotations

from datetime import timedelta

from streams.leads.breakers import Breaker


def breaker() -> Breaker:
    return Breaker(threshold=3, cooldown=timedelta(seconds=10), longest=timedelta(seconds=25))


def failing(found: Breaker, *moments: float) -> Breaker:
    for moment in moments:
        found.note(moment, healthy=False)
    return found


def test_it_is_closed_until_the_threshold_and_leaves_the_cap() -> None:
    found = failing(breaker(), 0, 1)
    assert (found.state(1), found.room(1, 0, 5), found.room(1, 4, 5), found.room(1, 9, 5)) == ("closed", 5, 1, 0)


def test_a_success_forgets_the_failures() -> None:
    found = failing(breaker(), 0, 1)
    found.note(2, healthy=True)
    assert failing(found, 3, 4).state(4) == "closed"


def test_open_it_leaves_no_room_and_half_open_a_single_probe() -> None:
    found = failing(breaker(), 0, 0, 0)
    assert (found.state(9.9), found.room(9.9, 0, 5)) == ("open", 0)
    assert (found.state(10), found.room(10, 0, 5), found.room(10, 1, 5)) == ("half_open", 1, 0)


def test_a_probe_that_succeeds_closes_it() -> None:
    found = failing(breaker(), 0, 0, 0)
    found.note(10, healthy=True)
    assert (found.state(10), found.room(10, 0, 5)) == ("closed", 5)


def test_each_probe_that_fails_doubles_the_cool_down_up_to_the_longest() -> None:
    found = failing(breaker(), 0, 0, 0, 10)
    assert (found.state(29.9), found.state(30)) == ("open", "half_open")
    failing(found, 30)
    assert (found.state(54.9), found.state(55)) == ("open", "half_open")


def test_failures_that_began_before_it_opened_do_not_count() -> None:
    found = failing(breaker(), 0, 0, 0, 1, 2, 3)
    assert found.state(10) == "half_open"
