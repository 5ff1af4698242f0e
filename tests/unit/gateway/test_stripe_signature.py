"""Signatures of Stripe deliveries: each form of the header matches a secret, or is refused with one stable reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import GatewayError, Reason
from gateway.webhooks.sources.stripe import TOLERANCE, verify
from runtime.settings import Secret
from tests.simulators.stripe import sign

NOW = 1_800_000_000
NEWEST, OLDER, STRANGE = Secret("whsec_newest"), Secret("whsec_older"), Secret("whsec_strange")
BODY = '{"id":"evt_1","name":"Zoë"}'.encode()


def check(*headers: str, body: bytes = BODY, now: float = NOW) -> Secret:
    given_headers = CIMultiDict([("Stripe-Signature", header) for header in headers])
    return verify(body, CIMultiDictProxy(given_headers), (NEWEST, OLDER), now)


def reason_of(*headers: str, body: bytes = BODY, now: float = NOW) -> Reason:
    with pytest.raises(GatewayError) as refusal:
        check(*headers, body=body, now=now)
    return refusal.value.reason


def signature(secret: Secret = NEWEST, body: bytes = BODY) -> str:
    return sign(body, secret.value, NOW).partition(",v1=")[2]


GOOD = signature()


@pytest.mark.parametrize(
    "header",
    [
        f"t={NOW},v1={GOOD}",
        f"v1={GOOD},t={NOW}",
        f"t={NOW},v1={'0' * 64},v1={GOOD}",
        f"t={NOW},v0={'0' * 64},v1={GOOD},v2=whatever",
        f"t={NOW},v1={GOOD},",
    ],
)
def test_any_matching_v1_signature_is_enough(header: str) -> None:
    assert check(header) == NEWEST


def test_the_second_live_secret_is_recognised_as_itself() -> None:
    assert check(f"t={NOW},v1={signature(OLDER)}") == OLDER


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", Reason.SIGNATURE_MISSING),
        ("garbage", Reason.SIGNATURE_MALFORMED),
        ("t", Reason.SIGNATURE_MALFORMED),
        (f"v1={GOOD}", Reason.SIGNATURE_MALFORMED),
        (f"t=,v1={GOOD}", Reason.SIGNATURE_MALFORMED),
        (f"t=soon,v1={GOOD}", Reason.SIGNATURE_MALFORMED),
        (f"t=-{NOW},v1={GOOD}", Reason.SIGNATURE_MALFORMED),
        (f"t={NOW}.5,v1={GOOD}", Reason.SIGNATURE_MALFORMED),
        (f"t={'9' * 5000},v1={GOOD}", Reason.SIGNATURE_MALFORMED),
        (f"t={NOW},v1=é{GOOD}", Reason.SIGNATURE_MALFORMED),
        (f"t={NOW},v1=\udcff{GOOD}", Reason.SIGNATURE_MALFORMED),
        (f"t={NOW}", Reason.SIGNATURE_SCHEME_UNKNOWN),
        (f"t={NOW},v0={GOOD}", Reason.SIGNATURE_SCHEME_UNKNOWN),
        (f"t={NOW},v1={signature(STRANGE)}", Reason.SIGNATURE_WRONG),
        (f"t={NOW},v1=", Reason.SIGNATURE_WRONG),
        (f"t={NOW},v1={GOOD.upper()}", Reason.SIGNATURE_WRONG),
        (f"t={NOW - 1},v1={GOOD}", Reason.SIGNATURE_WRONG),
        (f"t={NOW}," + ",".join(f"v1={n:064}" for n in range(200)), Reason.SIGNATURE_WRONG),
    ],
)
def test_a_bad_header_has_its_reason(header: str, reason: Reason) -> None:
    assert reason_of(header) is reason


def test_no_header_is_a_missing_signature() -> None:
    assert reason_of() is Reason.SIGNATURE_MISSING


def test_two_headers_are_refused_even_if_both_are_good() -> None:
    assert reason_of(f"t={NOW},v1={GOOD}", f"t={NOW},v1={GOOD}") is Reason.SIGNATURE_MALFORMED


@pytest.mark.parametrize("drift", [-TOLERANCE, 0, TOLERANCE])
def test_five_minutes_either_way_are_tolerated(drift: int) -> None:
    assert check(f"t={NOW},v1={GOOD}", now=NOW + drift) == NEWEST


def test_a_timestamp_beyond_them_is_refused_on_either_side() -> None:
    assert reason_of(f"t={NOW},v1={GOOD}", now=NOW + TOLERANCE + 1) is Reason.TIMESTAMP_TOO_OLD
    assert reason_of(f"t={NOW},v1={GOOD}", now=NOW - TOLERANCE - 1) is Reason.TIMESTAMP_IN_FUTURE


def test_a_stranger_learns_nothing_about_the_clock() -> None:
    assert reason_of(f"t={NOW},v1={signature(STRANGE)}", now=NOW + 10 * TOLERANCE) is Reason.SIGNATURE_WRONG


def test_a_body_that_is_not_utf8_is_nothing_that_stripe_signed() -> None:
    assert reason_of(f"t={NOW},v1={GOOD}", body=b"\xff\xfe") is Reason.BODY_NOT_UTF8


@given(position=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_one_changed_bit_of_the_body_is_found(position: int, bit: int) -> None:
    changed = bytearray(BODY)
    changed[position] ^= 1 << bit
    assert reason_of(f"t={NOW},v1={GOOD}", body=bytes(changed)) in {Reason.SIGNATURE_WRONG, Reason.BODY_NOT_UTF8}


@given(st.text())
def test_any_malformed_header_is_a_refusal_and_never_a_crash(header: str) -> None:
    assert reason_of(header)
