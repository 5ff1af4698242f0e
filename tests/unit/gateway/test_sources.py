"""The events that a source passes to a worker, with their mode and account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError, Reason
from gateway.settings import GatewaySettings
from gateway.webhooks.sources.live import LiveSources
from gateway.webhooks.sources.razorpay import RAZORPAY
from gateway.webhooks.sources.stripe import STRIPE
from outbox.append import OTHER_MODE, UNHANDLED
from projections.endpoints import Endpoint, Terms
from runtime.settings import SettingsError
from schemas.partners import Partner
from schemas.providers import account_of
from tests.partners import known_senders
from tests.unit.gateway.test_stripe_translation import arrive, make_event

if TYPE_CHECKING:
    from schemas.providers import Mode

HANDLED = "payment_intent.succeeded"
ENVIRON = {
    "DATABASE_URL": "postgresql://x/y", "STRIPE_WEBHOOK_SECRET": "whsec_1", "INTERNAL_API_TOKEN": "a", "ADMIN_API_TOKEN": "b",
}  # fmt: skip


def test_the_sources_are_those_of_one_moment_although_the_tables_are_read_meanwhile() -> None:
    """The watch over secrets reads them in its own thread."""
    senders = known_senders({"ACME": Partner()})
    senders.endpoints._all = {"stripe/eu": Endpoint("stripe", "eu", Terms(), ())}
    for items in (iter(senders.endpoints.items()), iter(senders.partners.items())):
        senders.endpoints._all, senders.partners._all = {}, {}
        assert len(list(items)) == 1


@pytest.mark.parametrize("kind", [HANDLED, "radar.early_fraud_warning.created"])
@pytest.mark.parametrize(
    ("mode", "livemode", "other"),
    [
        ("any", True, False), ("any", False, False), ("any", None, False),
        ("live", True, False), ("live", False, True), ("live", None, False),
        ("test", True, True), ("test", False, False), ("test", None, False),
    ],
)  # fmt: skip
def test_an_event_of_the_other_mode_goes_nowhere_and_one_without_a_mode_is_of_both(
    kind: str, mode: Mode, livemode: bool | None, other: bool
) -> None:
    source = LiveSources(GatewaySettings.load(ENVIRON | {"STRIPE_MODE": mode}), known_senders({}))["stripe"].source
    body = make_event(type=kind) if livemode is None else make_event(type=kind, livemode=livemode)
    received = source.receive(arrive(body))
    expected = OTHER_MODE if other else None if kind == HANDLED else UNHANDLED
    assert (received.ignored, received.handled) == (expected, expected is None)
    assert received.event.livemode is livemode


def test_every_mode_is_taken_by_default() -> None:
    assert LiveSources(GatewaySettings.load(ENVIRON), known_senders({}))["stripe"].source.mode == "any"
    assert LiveSources(GatewaySettings.load(ENVIRON | {"STRIPE_MODE": ""}), known_senders({}))["stripe"].source.mode == "any"


@pytest.mark.parametrize("word", ["production", "LIVE", "true", "live,test", "live "])
def test_an_unknown_mode_is_refused_by_name(word: str) -> None:
    with pytest.raises(SettingsError) as caught:
        GatewaySettings.load(ENVIRON | {"STRIPE_MODE": word})
    assert caught.value.problems == ["STRIPE_MODE: one of 'live', 'test' or 'any' is expected"]


@pytest.mark.parametrize(
    ("account", "context", "found"),
    [
        (None, None, None), ("", "", None), ("acct_1", None, "acct_1"), ("acct_1", "acct_2/acct_3", "acct_1"),
        (None, "acct_2", "acct_2"), (None, "acct_2/acct_3", "acct_3"), (None, "acct_2/", None), ("a b", "acct_2", "acct_2"),
        ("acct_\0", None, None), ("a" * 255, None, "a" * 255), ("a" * 256, None, None), ("ä", None, None),
    ],
)  # fmt: skip
def test_an_event_is_of_the_account_it_names_or_of_the_last_one_of_its_context(
    account: str | None, context: str | None, found: str | None
) -> None:
    assert account_of(account, context) == found


@given(st.text(), st.text())
def test_any_account_that_an_event_names_fits_into_a_column_and_a_header(account: str, context: str) -> None:
    found = account_of(account, context)
    assert found is None or (found.isascii() and found.isprintable() and 0 < len(found) <= 255)


def test_an_invalid_mode_loses_only_its_event() -> None:
    """Stripe promises a Boolean (https://docs.stripe.com/api/events/object), and money depends on it."""
    with pytest.raises(GatewayError) as refusal:
        STRIPE.receive(arrive(make_event(livemode="yes")))
    assert refusal.value.reason is Reason.EVENT_MALFORMED


@pytest.mark.parametrize("marks", [{"account": 7}, {"context": ["acct_1"]}, {"api_version": 2026}, {"object": None}])
def test_another_invalid_mark_does_not_even_lose_its_event(marks: dict[str, Any]) -> None:
    received = STRIPE.receive(arrive(make_event(**marks)))
    assert (received.handled, received.event.account) == (True, None)


def test_razorpays_events_have_no_known_mode() -> None:
    body = b'{"event":"payment.captured","created_at":1700000000,"account_id":"acc_1","livemode":true}'
    received = RAZORPAY._replace(mode="test").receive(arrive(body))
    assert (received.event.livemode, received.event.account, received.handled) == (None, "acc_1", True)
