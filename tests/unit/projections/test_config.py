"""Runtime configuration as a process sees it."""

from __future__ import annotations

from projections.config import Config


def test_what_was_never_set_has_the_default() -> None:
    assert Config().get("lead.max_attempts", 8) == 8


def test_what_was_set_wins_over_the_default() -> None:
    assert Config({"lead.max_attempts": 3}).get("lead.max_attempts", 8) == 3


def test_null_gives_the_default_back() -> None:
    assert Config({"lead.max_attempts": None}).get("lead.max_attempts", 8) == 8


def test_a_value_of_another_type_is_ignored() -> None:
    assert Config({"lead.max_attempts": "many"}).get("lead.max_attempts", 8) == 8
    assert Config({"partner.acme.paused": 1}).get("partner.acme.paused", False) is False


def test_a_whole_number_will_do_for_a_fraction() -> None:
    assert Config({"rate": 2}).get("rate", 0.5) == 2.0
