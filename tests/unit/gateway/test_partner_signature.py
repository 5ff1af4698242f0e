"""Proofs of a partner: each form matches a secret of the partner that the body names, or is refused with one stable reason."""

from __future__ import annotations

import time
from statistics import median
from typing import Final

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import GatewayError, Reason
from gateway.webhooks.sources.partner import TOLERANCE, partner_source
from schemas.partners import Partner
from tests.partners import all_known
from tests.simulators.partner import lead, sign, sign_body

NOW: Final = 1_800_000_000
PARTNERS: Final = {
    "ACME": Partner.model_validate({"secret": "acme-new,acme-old", "token": "acme-token"}),
    "OTHER_CO": Partner.model_validate({"secret": "other", "token": ""}),
}
BODY: Final = lead()
SOURCE: Final = partner_source(all_known(PARTNERS))


def check(*headers: tuple[str, str], body: bytes = BODY, now: float = NOW) -> str:
    """Return the value of the matching secret."""
    return SOURCE.verify(body, CIMultiDictProxy(CIMultiDict(headers)), (), now).value


def signed(value: str) -> tuple[str, str]:
    return ("X-Partner-Signature", value)


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


def reason_of(*headers: tuple[str, str], body: bytes = BODY, now: float = NOW) -> Reason:
    with pytest.raises(GatewayError) as refusal:
        check(*headers, body=body, now=now)
    return refusal.value.reason


@pytest.mark.parametrize("secret", ["acme-new", "acme-old"])
def test_every_live_secret_signs_in_both_ways(secret: str) -> None:
    assert check(signed(sign(BODY, secret, NOW))) == secret
    assert check(signed(sign_body(BODY, secret))) == secret
    assert check(signed(f"{sign(BODY, secret, NOW)},v1={'0' * 64}")) == secret
    assert check(signed(sign_body(BODY, secret).upper().replace("SHA256", "sha256"))) == secret


def test_a_token_replaces_a_signature() -> None:
    assert check(bearer("acme-token")) == "acme-token"
    assert check(("Authorization", "bearer acme-token")) == "acme-token"


def test_an_id_finds_its_variables_whatever_its_case_and_signs() -> None:
    body = lead(partner="other.co")
    assert check(signed(sign_body(body, "other")), body=body) == "other"


@pytest.mark.parametrize("age", [TOLERANCE, -TOLERANCE, 0])
def test_five_minutes_on_either_side_are_taken(age: int) -> None:
    assert check(signed(sign(BODY, "acme-new", NOW - age))) == "acme-new"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ((), Reason.SIGNATURE_MISSING),
        ((("Authorization", "Basic eDp5"),), Reason.SIGNATURE_MISSING),
        ((bearer("other-token"),), Reason.TOKEN_WRONG),
        ((bearer(""),), Reason.TOKEN_WRONG),
        ((bearer("acme-new"),), Reason.TOKEN_WRONG),
        ((signed(sign(BODY, "other", NOW)),), Reason.SIGNATURE_WRONG),
        ((signed(sign(BODY + b" ", "acme-new", NOW)),), Reason.SIGNATURE_WRONG),
        ((signed(sign_body(BODY, "acme-token")),), Reason.SIGNATURE_WRONG),
        ((signed("sha256=Zo\xeb"),), Reason.SIGNATURE_MALFORMED),
        ((signed("t=soon,v1=00"),), Reason.SIGNATURE_MALFORMED),
        ((signed(f"t={'9' * 13},v1=00"),), Reason.SIGNATURE_MALFORMED),
        ((signed("t=1"),), Reason.SIGNATURE_SCHEME_UNKNOWN),
        ((signed("md5=00"),), Reason.SIGNATURE_SCHEME_UNKNOWN),
        ((signed(""),), Reason.SIGNATURE_SCHEME_UNKNOWN),
        ((signed("sha256=00"), signed("sha256=00")), Reason.SIGNATURE_MALFORMED),
        ((signed(sign(BODY, "acme-new", NOW - TOLERANCE - 1)),), Reason.TIMESTAMP_TOO_OLD),
        ((signed(sign(BODY, "acme-new", NOW + TOLERANCE + 1)),), Reason.TIMESTAMP_IN_FUTURE),
        # A signature that is there is the one that counts.
        ((signed("sha256=00"), bearer("acme-token")), Reason.SIGNATURE_WRONG),
    ],
)
def test_every_other_proof_is_refused(headers: tuple[tuple[str, str], ...], reason: Reason) -> None:
    assert reason_of(*headers) is reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", Reason.BODY_NOT_JSON),
        (b"\xff", Reason.BODY_NOT_UTF8),
        (lead()[:-1] + b', "note": "caf\xe9"}', Reason.BODY_NOT_UTF8),
        (b"[" * 5000, Reason.EVENT_MALFORMED),
        (b"{}", Reason.EVENT_MALFORMED),
        (lead(partner=""), Reason.EVENT_MALFORMED),
        (lead(partner="../etc"), Reason.EVENT_MALFORMED),
        (lead(partner="a" * 65), Reason.EVENT_MALFORMED),
    ],
)
def test_a_body_without_a_partner_is_malformed(body: bytes, reason: Reason) -> None:
    assert reason_of(signed(sign_body(body, "acme-new")), body=body) is reason


def test_a_lead_outside_of_ascii_is_taken_as_it_is() -> None:
    body = lead()[:-1] + ', "note": "café"}'.encode()
    assert check(signed(sign_body(body, "acme-new")), body=body) == "acme-new"


def test_a_stranger_is_refused_like_a_wrong_signature() -> None:
    body = lead(partner="nobody")
    assert reason_of(signed(sign_body(body, "acme-new")), body=body) is Reason.SIGNATURE_WRONG
    assert reason_of(bearer("acme-token"), body=body) is Reason.TOKEN_WRONG


def test_a_stranger_takes_as_much_work_as_a_partner_whichever_has_most_secrets() -> None:
    size = "x" * 100_000  # so that the hashing outweighs everything around it

    def cost(partner: str) -> float:
        body = lead(partner=partner, notes=size)
        started = time.perf_counter()
        assert reason_of(signed("sha256=" + "0" * 64), body=body) is Reason.SIGNATURE_WRONG
        return time.perf_counter() - started

    rounds = [[cost(partner) for partner in ("acme", "other-co", "nobody")] for _ in range(101)]
    acme, other, nobody = (median(costs) for costs in zip(*rounds, strict=True))
    assert 0.6 < acme / nobody < 1.6
    assert 0.6 < other / nobody < 1.6


def test_no_secret_of_a_stranger_can_be_guessed_from_none() -> None:
    nobody = partner_source(all_known({}))
    for header in (signed(sign_body(BODY, "")), bearer("")):
        with pytest.raises(GatewayError):
            nobody.verify(BODY, CIMultiDictProxy(CIMultiDict([header])), (), NOW)


def test_a_wrong_signature_is_uncertain_until_the_table_has_been_read() -> None:
    partners = all_known({})
    partners.read.clear()
    with pytest.raises(GatewayError) as refused:
        partner_source(partners).verify(BODY, CIMultiDictProxy(CIMultiDict([signed(sign_body(BODY, "new"))])), (), NOW)
    assert refused.value.reason == "postgres_unavailable"
