"""Each usual cause of a refusal is found by its word; a delivery with an unknown signature stays unknown."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import GatewayError
from gateway.secrets.uses import LiveSecret
from gateway.webhooks.sources.razorpay import verify as verify_razorpay
from gateway.webhooks.sources.stripe import verify as verify_stripe
from operations.deliveries.bodies import bodies_of
from operations.deliveries.explanation import Circumstances, Explanation, Traits, explain
from operations.webhook_replay.store import StoredDelivery
from runtime.ids import new_id, time_of
from runtime.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

STRIPE: Final = "whsec_8f1c2a9d7b6e4f3085a1c9d2e7f60b4a"
RAZORPAY: Final = "rzp-5Kd82mQzX"
ACME: Final = "acme-77fGh2"
API_KEY: Final = "sk_live_51HqLyjWDarjtT1zdp7dc"
DAY: Final = timedelta(hours=24)
LIVE: Final = tuple(
    LiveSecret(setting, Secret(value), 0, 1, DAY)
    for setting, value in {
        "STRIPE_WEBHOOK_SECRET": STRIPE, "RAZORPAY_WEBHOOK_SECRET": RAZORPAY, "PARTNER_ACME_SECRET": ACME,
        "ADMIN_API_TOKEN": "H3fJ6sDg1aQe5uTi0oBn",
    }.items()
)  # fmt: skip
EVENT: Final[dict[str, Any]] = {
    "type": "payment_intent.succeeded", "id": "evt_1", "livemode": True, "account": "acct_1", "created": 1_795_763_000,
    "data": {"object": {"object": "payment_intent", "id": "pi_1", "url": "https://example.com/?b=1&c=<2>", "name": "Zoë Ørsted"}},
}  # fmt: skip
BODY: Final = json.dumps(EVENT, indent=2).encode()
KNOWN: Final = Circumstances(secrets=LIVE, api_keys=(Secret(API_KEY),))


def mac(key: bytes | str, signed: bytes) -> str:
    return hmac.new(key.encode() if isinstance(key, str) else key, signed, hashlib.sha256).hexdigest()


def stripe(
    arrived: bytes = BODY, key: bytes | str = STRIPE, *, sent: bytes | None = None, late: int = 0, header: str = "t={t},v1={v1}",
    reason: str = "signature_wrong",
) -> StoredDelivery:  # fmt: skip
    """A Stripe delivery that was signed as `sent` and arrived as `arrived`, so many seconds later."""
    delivery = new_id()
    moment = int(time_of(delivery).timestamp()) - late
    signature = mac(key, f"{moment}.".encode() + (arrived if sent is None else sent))
    headers = {"Stripe-Signature": header.format(t=moment, v1=signature, V1=signature.upper())}
    return StoredDelivery(delivery, "stripe", reason, "0" * 32, headers, arrived, None)


def razorpay(arrived: bytes, key: bytes | str = RAZORPAY, *, sent: bytes | None = None) -> StoredDelivery:
    signature = mac(key, arrived if sent is None else sent)
    return StoredDelivery(new_id(), "razorpay", "signature_wrong", "0" * 32, {"X-Razorpay-Signature": signature}, arrived, None)


def partner(body: bytes, key: str, header: str = "sha256={}") -> StoredDelivery:
    headers = {"X-Partner-Signature": header.format(mac(key, body))}
    return StoredDelivery(new_id(), "partner", "signature_wrong", "0" * 32, headers, body, None)


COMPACT: Final = json.dumps(EVENT, separators=(",", ":"), ensure_ascii=False).encode()
LEAD: Final = b'{"partnerId":"acme","externalLeadId":"1","payload":{}}'

CASES: Final[dict[str, tuple[StoredDelivery, str]]] = {
    "compact": (stripe(COMPACT, sent=BODY), "body_reencoded"),
    "spaced": (stripe(json.dumps(EVENT).encode(), sent=BODY), "body_reencoded"),
    "unicode escaped": (stripe(BODY, sent=json.dumps(EVENT, indent=2, ensure_ascii=False).encode()), "body_reencoded"),
    "sorted keys": (stripe(COMPACT, sent=json.dumps(EVENT, sort_keys=True).encode()), "body_reencoded"),
    "slashes escaped": (razorpay(COMPACT, sent=COMPACT.replace(b"/", b"\\/")), "body_reencoded"),
    "slashes and unicode escaped, as PHP writes": (
        razorpay(COMPACT, sent=json.dumps(EVENT, separators=(",", ":")).replace("/", "\\/").encode()), "body_reencoded",
    ),
    "escaped for HTML, as Go writes": (
        razorpay(COMPACT, sent=COMPACT.replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e")),
        "body_reencoded",
    ),
    "latin-1": (stripe(COMPACT.decode().encode("latin-1"), sent=COMPACT), "body_reencoded"),
    "read as latin-1": (stripe(COMPACT.decode("latin-1").encode(), sent=COMPACT), "body_reencoded"),
    "utf-16": (stripe(COMPACT.decode().encode("utf-16"), sent=COMPACT), "body_reencoded"),
    "JSON within JSON": (stripe(json.dumps(COMPACT.decode()).encode(), sent=COMPACT), "body_reencoded"),
    "final newline added": (stripe(BODY + b"\n", sent=BODY), "body_trimmed"),
    "final newline cut": (stripe(BODY, sent=BODY + b"\n"), "body_trimmed"),
    "CRLF": (stripe(BODY.replace(b"\n", b"\r\n"), sent=BODY), "body_trimmed"),
    "LF": (stripe(BODY, sent=BODY.replace(b"\n", b"\r\n")), "body_trimmed"),
    "byte order mark": (stripe(b"\xef\xbb\xbf" + BODY, sent=BODY), "body_trimmed"),
    "byte order mark cut": (razorpay(BODY, sent=b"\xef\xbb\xbf" + BODY), "body_trimmed"),
    "of Razorpay": (stripe(key=RAZORPAY), "secret_of_other_source"),
    "of a partner": (razorpay(BODY, key=ACME), "secret_of_other_source"),
    "a token": (stripe(key="H3fJ6sDg1aQe5uTi0oBn"), "secret_of_other_source"),
    "a space": (stripe(key=STRIPE + " "), "secret_with_whitespace"),
    "a newline": (razorpay(BODY, key=RAZORPAY + "\n"), "secret_with_whitespace"),
    "quotes": (stripe(key=f'"{STRIPE}"'), "secret_with_whitespace"),
    "decoded": (stripe(key=base64.b64decode(STRIPE.removeprefix("whsec_"))), "secret_taken_for_base64"),
    "encoded": (stripe(key=base64.b64encode(STRIPE.encode())), "secret_taken_for_base64"),
    "without prefix": (stripe(key=STRIPE.removeprefix("whsec_")), "secret_without_prefix"),
    "the API key": (stripe(key=API_KEY), "api_key_as_secret"),
    "upper case": (stripe(header="t={t},v1={V1}"), "signature_reformatted"),
    "joined": (stripe(header="t={t}, v1={v1}, t={t}, v1={v1}", reason="signature_malformed"), "signature_reformatted"),
    "split": (stripe(header="t={t},\tv1 = {v1}", reason="signature_scheme_unknown"), "signature_reformatted"),
    "late": (stripe(late=4000, reason="timestamp_too_old"), "clock_skew"),
    "early": (stripe(late=-4000, reason="timestamp_in_future"), "clock_skew"),
    "another endpoint": (stripe(key="whsec_of_another_endpoint"), "mode_or_endpoint"),
    "nobody's": (stripe(b"no event at all", key="x"), "unknown"),
    "no signature": (StoredDelivery(new_id(), "stripe", "signature_missing", "0" * 32, {}, BODY, None), "signature_missing"),
    "no digest": (stripe(header="t={t},v1=abc", reason="signature_wrong"), "signature_malformed"),
    "no body": (stripe()._replace(body=None, reason="body_too_large"), "body_not_kept"),
    "not an event": (stripe()._replace(reason="event_malformed"), "event_malformed"),
    "a partner's newline": (partner(LEAD, ACME + "\n"), "secret_with_whitespace"),
    "a partner that is not set up": (partner(LEAD.replace(b"acme", b"acmee"), "x"), "partner_unknown"),
    "a partner's other secret": (partner(LEAD, "x"), "unknown"),
}  # fmt: skip


@pytest.mark.parametrize(("refused", "cause"), CASES.values(), ids=list(CASES))
def test_a_cause_is_found_by_its_word_with_the_remedy(refused: StoredDelivery, cause: str) -> None:
    found = explain(refused, KNOWN)
    assert found.cause == cause, found
    assert found.detail
    assert found.advice


@pytest.mark.parametrize(
    "name", [name for name, (_, cause) in CASES.items() if cause.startswith(("body_r", "body_t", "secret", "api"))]
)
def test_the_cases_are_real_refusals_and_the_secret_is_named_by_its_id_alone(name: str) -> None:
    refused, _ = CASES[name]
    verify: Callable[..., Secret] | None = {"stripe": verify_stripe, "razorpay": verify_razorpay}.get(refused.source)
    if verify:
        own = [live.secret for live in LIVE if live.setting == f"{refused.source.upper()}_WEBHOOK_SECRET"]
        with pytest.raises(GatewayError):
            verify(refused.body, CIMultiDictProxy(CIMultiDict(refused.headers)), own, time_of(refused.id).timestamp())
    found = explain(refused, KNOWN)
    assert found.secret_id in {live.secret.id for live in LIVE} | {Secret(API_KEY).id}
    assert not any(live.secret.value in str(found) for live in (*LIVE, LiveSecret("", Secret(API_KEY), 0, 1, DAY)))


def explained(accepted: frozenset[Traits], mode: str = "any") -> Explanation:
    return explain(stripe(key="whsec_other"), Circumstances(secrets=LIVE, accepted=accepted, mode=mode))


def test_a_delivery_like_the_accepted_ones_with_an_unknown_signature_stays_unknown() -> None:
    assert explained(frozenset({Traits(live=True, account="acct_1")})).cause == "unknown"
    other = explained(frozenset({Traits(live=False, account="acct_1")}))
    assert (other.cause, "a live event of the account acct_1" in other.detail) == ("mode_or_endpoint", True)
    assert explained(frozenset({Traits(live=True, account="acct_2")})).cause == "mode_or_endpoint"
    assert "accepts test events" in explained(frozenset(), mode="test").detail


def test_a_secret_that_was_set_since_is_distinguished_from_a_damaged_header() -> None:
    assert explain(stripe(), Circumstances(secrets=LIVE, recoverable=True)).cause == "secret_added_since"


def test_the_clock_skew_of_the_hour_is_reported() -> None:
    found = explain(stripe(late=4000, reason="timestamp_too_old"), Circumstances(secrets=LIVE, skew=3999.6))
    assert re.search(r"arrived 400[01] s after .* of the hour is 4000 s", found.detail)


@given(
    body=st.binary(max_size=300), header=st.text(max_size=200), source=st.sampled_from(["stripe", "razorpay", "partner", "other"])
)
def test_any_delivery_is_explained_without_an_error_and_never_as_ours(body: bytes, header: str, source: str) -> None:
    names = {"stripe": "Stripe-Signature", "razorpay": "X-Razorpay-Signature", "partner": "X-Partner-Signature"}
    refused = StoredDelivery(new_id(), source, "signature_wrong", "0" * 32, {names.get(source, "X"): header}, body, None)
    assert explain(refused, KNOWN).secret_id is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_guess_is_made_twice_and_none_is_the_body_itself(data: object) -> None:
    body = json.dumps(data).encode()
    guesses = [variant.value for variant in bodies_of(body)]
    assert len(guesses) == len({*guesses})
    assert body not in guesses
