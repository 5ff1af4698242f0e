"""Runtime configuration as a process reads it, and the values that its keys accept."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.config import decoded
from projections.config_keys import ATTEMPTS_MAX, KEYS, ProjectionError, check, is_usable
from projections.config_view import Config

PARTNERS: Final = {"ACME", "BRIGHT_HOMES"}
NAMES: Final = [key.name.replace("{ID}", "ACME") for key in KEYS]
NONSENSE: Final[list[Any]] = [
    "", " ", "yes", "true", "on", 0, -1, 1.5, 1e400, math.nan, math.inf, 2**63, 10**400, ATTEMPTS_MAX + 1, [], [1], {},
    {"value": 1}, "x" * 1_000_000, "0/second", "-1/second", "99999999999999999999/second", "1/99999999 seconds", "1/0 seconds",
    "1.5/second", "1/second;1/day", "1/second\n", " 1/second", "nan/second", "٣/second", "1/fortnight",
]  # fmt: skip


def test_a_key_that_was_never_set_has_the_default() -> None:
    assert Config().get("lead.max_attempts", 8) == 8


def test_a_set_value_overrides_the_default() -> None:
    assert Config({"lead.max_attempts": 3}).get("lead.max_attempts", 8) == 3


def test_a_number_of_attempts_may_be_written_with_a_fraction_of_zero() -> None:
    assert is_usable("lead.max_attempts", 3.0)
    assert str(decoded(b"3.0")) == "3"


def test_null_gives_the_default_back() -> None:
    assert Config({"lead.max_attempts": None}).get("lead.max_attempts", 8) == 8


def test_a_value_that_cannot_be_used_leaves_the_default() -> None:
    assert Config({"lead.max_attempts": "many"}).get("lead.max_attempts", 8) == 8
    assert Config({"partner.ACME.paused": 1}).get("partner.ACME.paused", False) is False


def test_the_last_good_value_stays_and_each_change_to_a_bad_one_is_news_once() -> None:
    config = Config({"lead.max_attempts": 3, "channel.SMS.paused": True})
    assert config.replace({"lead.max_attempts": 0}) == ["lead.max_attempts"]
    assert config.replace({"lead.max_attempts": 0}) == []
    assert config.replace({"lead.max_attempts": False}) == ["lead.max_attempts"]
    assert (config.get("lead.max_attempts", 8), config.unusable) == (3, 1)
    assert config.get("channel.SMS.paused", False) is False
    config.fall_back("lead.max_attempts", 5)
    assert config.get("lead.max_attempts", 8) == 3
    assert config.replace({"lead.max_attempts": 4}) == []
    assert (config.get("lead.max_attempts", 8), config.unusable) == (4, 0)


def test_a_value_that_was_valid_before_this_process_started_is_the_fallback() -> None:
    config = Config()
    assert config.replace({"lead.max_attempts": -1}) == ["lead.max_attempts"]
    config.fall_back("lead.max_attempts", 5)
    assert config.replace({"lead.max_attempts": -1}) == []
    assert config.get("lead.max_attempts", 8) == 5


@pytest.mark.parametrize("name", NAMES)
def test_a_key_takes_no_nonsense_and_names_its_bounds(name: str) -> None:
    for value in NONSENSE:
        assert not is_usable(name, value)
        with pytest.raises(ProjectionError, match=r"true or false|whole number from 1 to 1000|rate like 200/second"):
            check(name, value, PARTNERS)
    check(name, None, PARTNERS)


@given(st.sampled_from(NAMES), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_value_is_in_force_or_replaced_by_the_default(name: str, value: Any) -> None:
    held = Config({name: value}).get(name, "default")
    assert held == (value if is_usable(name, value) and value is not None else "default")


def test_a_key_accepts_values_within_its_bounds() -> None:
    for name, values in {
        "lead.max_attempts": (1, ATTEMPTS_MAX),
        "partner.BRIGHT_HOMES.paused": (True, False),
        "rate_limit.webhooks": ("off", "1/second", "1000000/second", "10000/5 minutes", "7 per hour", "1/31 days"),
    }.items():
        for value in values:
            check(name, value, PARTNERS)


@pytest.mark.parametrize(
    "name",
    [
        "partner.ACMEE.paused", "partner.acme.paused", "partner.paused", "partner.ACME.pause", "partner.", "partner",
        "rate_limit.x", "lead.max_attempt", "channel.FAX.paused", "channel.sms.paused", "cache.allow_al", "Cache.allow_all",
        "lead.max_attempts.x",
    ],
)  # fmt: skip
def test_a_key_that_nothing_reads_is_refused_where_its_first_word_is_ours(name: str) -> None:
    with pytest.raises(ProjectionError):
        check(name, True, PARTNERS)


@pytest.mark.parametrize("name", ["greeting", "leads.paused", "shop.sms.paused", "ratelimit.webhooks", "partners.ACMEE"])
def test_other_keys_are_anybodys(name: str) -> None:
    for value in ("anything", [], {"a": None}):
        check(name, value, PARTNERS)
