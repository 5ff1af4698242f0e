"""The ids of the simulators begin with the time, like those of the providers."""

from __future__ import annotations

import pytest

from tests.simulators import razorpay, stripe
from tests.simulators.base62 import DIGITS, base62

PUBLISHED = [
    ("pi_1Ev1ezFSbr6xR4YAtM76y2kZ", 1_562_849_165),
    ("pi_1HPBHGIV32DS3o2YW39AuSQH", 1_599_588_646),
    ("pi_3JQYvtAoreSdtfZ21Q335WYl", 1_629_470_577),
    ("pi_3MtwBwLkdIwHu7ix28a3tqPa", 1_680_800_504),
    ("evt_1NG8Du2eZvKYlo2CUI79vXWy", 1_686_089_970),
    ("pi_3OJ3TiIKWKaCzW6h1DtrTLfI", 1_701_563_050),
    ("evt_1RgRPrEEXQJo9EEOWggvNEHe", 1_751_465_619),
    ("pi_3TWIvx0qWkNaM1fM0H4e0MIb", 1_778_602_405),
]
"""Ids of Stripe's documentation and of events that people have published, each with its `created`."""


@pytest.mark.parametrize(("published", "created"), PUBLISHED)
def test_an_id_of_stripe_has_the_second_of_its_creation(published: str, created: int) -> None:
    token = published.split("_")[1]
    ours = stripe.new_token(created)
    assert (ours[1:6], len(ours)) == (token[1:6], len(token))


def test_ids_sort_by_the_time_as_bytes() -> None:
    moments = [created for _, created in PUBLISHED]
    tokens = [stripe.new_token(created) for created in moments]
    assert sorted(tokens, key=str.encode) == tokens
    razorpay_ids = [razorpay.random_id("pay") for _ in range(50)]
    assert sorted(razorpay_ids, key=str.encode) == razorpay_ids


def test_ids_of_one_moment_differ() -> None:
    assert len({stripe.new_token(1_700_000_000.0) for _ in range(1000)}) == 1000


def test_an_id_of_razorpay_has_the_nanosecond_of_its_creation(monkeypatch: pytest.MonkeyPatch) -> None:
    since_2014 = 0
    for letter in "Di5iqCqA1W":
        since_2014 = since_2014 * 62 + DIGITS.index(letter)
    monkeypatch.setattr(razorpay.time, "time_ns", lambda: 1_388_534_400 * 1_000_000_000 + since_2014)
    assert razorpay.random_id("pay").startswith("pay_Di5iqCqA1W")
    assert razorpay.time.time_ns() // 1_000_000_000 == 1_574_143_644


@pytest.mark.parametrize("number", [-1, 62**2])
def test_a_number_that_needs_more_digits_is_refused(number: int) -> None:
    with pytest.raises(OverflowError):
        base62(number, 2)
