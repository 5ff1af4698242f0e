"""Every currency that a provider lists is counted as that provider counts it."""

from __future__ import annotations

import pytest

from schemas.currencies import minor_digits, shown_digits

# https://docs.stripe.com/currencies, presentment currencies and the three-decimal ones.
STRIPE_WHOLE = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
STRIPE_THOUSANDTHS = "BHD JOD KWD OMR TND"
STRIPE_HUNDREDTHS = """
USD AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP CRC CVE CZK DKK
DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD KES KGS KHR KYD KZT LAK LBP LKR LRD LSL
MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SEK
SGD SHP SLE SOS SRD STD SZL THB TJS TOP TRY TTD TWD TZS UAH UGX UYU UZS WST XCD XCG YER ZAR ZMW
"""
# https://razorpay.com/docs/payments/international-payments, supported currencies.
RAZORPAY_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
RAZORPAY_THOUSANDTHS = "BHD IQD JOD KWD OMR TND"
RAZORPAY_HUNDREDTHS = """
AED ALL AMD ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BZD CAD CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ETB
EUR FJD GBP GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR JMD KES KGS KHR KYD KZT LAK LKR LRD LSL MAD MDL MKD MMK MNT MOP
MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SCR SEK SGD SLL SOS SSP SVC SZL THB TRY
TTD TWD TZS UAH USD UYU UZS XCD YER ZAR ZMW
"""


def rows(provider: str, digits: int, codes: str) -> list[tuple[str, str, int]]:
    return [(provider, code, digits) for code in codes.split()]


@pytest.mark.parametrize(
    ("provider", "currency", "digits"),
    [
        *rows("stripe", 0, STRIPE_WHOLE),
        *rows("stripe", 3, STRIPE_THOUSANDTHS),
        *rows("stripe", 2, STRIPE_HUNDREDTHS),
        *rows("razorpay", 0, RAZORPAY_WHOLE),
        *rows("razorpay", 3, RAZORPAY_THOUSANDTHS),
        *rows("razorpay", 2, RAZORPAY_HUNDREDTHS),
    ],
)
def test_minor_units_are_those_of_the_provider(provider: str, currency: str, digits: int) -> None:
    assert minor_digits(currency, provider) == minor_digits(currency.lower(), provider) == digits


@pytest.mark.parametrize(("provider", "digits"), [(None, 0), ("another", 0), ("stripe", 2), ("razorpay", 0)])
def test_without_a_known_provider_minor_units_are_those_of_iso_4217(provider: str | None, digits: int) -> None:
    assert minor_digits("isk", provider) == digits


@pytest.mark.parametrize(
    ("amount", "currency", "digits"),
    [(50_000, "isk", 0), (50_050, "isk", 2), (500_000, "ugx", 0), (50_000, "huf", 2), (0, "isk", 0)],
)
def test_a_currency_without_small_units_in_use_is_shown_whole_unless_that_would_hide_something(
    amount: int, currency: str, digits: int
) -> None:
    assert shown_digits(amount, currency, "stripe") == digits
