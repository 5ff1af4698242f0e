"""Amounts are written exactly, with the provider's digits and in the reader's format."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.currencies import minor_digits
from streams.notifications.texts import money


@pytest.mark.parametrize(
    ("amount", "currency", "provider", "shown"),
    [
        (2990, "eur", None, "29.90 EUR"),
        (5, "usd", "stripe", "0.05 USD"),
        (500, "jpy", "stripe", "500 JPY"),
        (1234, "kwd", "razorpay", "1.234 KWD"),
        (-70, "eur", "stripe", "-0.70 EUR"),
        (50_000, "isk", "stripe", "500 ISK"),
        (500_000, "ugx", "stripe", "5000 UGX"),
        (1500, "mga", "stripe", "1500 MGA"),
        (50_000, "huf", "stripe", "500.00 HUF"),
        (500, "isk", "razorpay", "500 ISK"),
        (0, "isk", "stripe", "0 ISK"),
        (10**18, "usd", "stripe", "10000000000000000.00 USD"),
        (12, "xyz", "stripe", "0.12 XYZ"),
    ],
)
def test_an_amount_without_a_locale_is_a_number_and_a_code(amount: int, currency: str, provider: str | None, shown: str) -> None:
    assert money(amount, currency, provider=provider) == shown


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "shown"),
    [
        (123_456, "eur", "de", "1.234,56 €"),
        (123_456, "eur", "de_AT", "€ 1.234,56"),
        (12_345_670, "inr", "hi-IN", "₹1,23,456.70"),
        (50_000, "isk", "is", "500 kr."),
        (-123_456, "eur", "en-GB", "-€1,234.56"),
        (123_456, "eur", "de-ZZ", "1.234,56 €"),
        (123_456, "eur", "tlh", "1234.56 EUR"),
    ],
)
def test_an_amount_with_a_locale_is_written_as_people_there_write(amount: int, currency: str, locale: str, shown: str) -> None:
    assert money(amount, currency, provider="stripe", locale=locale).replace("\N{NO-BREAK SPACE}", " ") == shown


@given(
    st.integers(-(10**20), 10**20),
    st.sampled_from(["usd", "isk", "ugx", "mga", "kwd", "jpy", "xyz"]),
    st.sampled_from([None, "stripe"]),
)
def test_no_digit_is_lost(amount: int, currency: str, provider: str | None) -> None:
    number, _, code = money(amount, currency, provider=provider).partition(" ")
    assert code == currency.upper()
    assert Decimal(number).scaleb(minor_digits(currency, provider)) == amount
