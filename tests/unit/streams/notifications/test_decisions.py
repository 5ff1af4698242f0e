"""The decision for a command, and the decision after a failed attempt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest

from projections.contacts import Contact
from schemas.operations import SendNotification
from streams.notifications.decisions import Fail, Policy, Queue, RetryIn, Suppress, after_failure, decide
from streams.notifications.mails import Message
from streams.notifications.senders import SendFailed, check_url, target_of
from streams.notifications.texts import Text

ALL: Any = frozenset({"EMAIL", "SMS", "PUSH"})
POLICY = Policy(5, timedelta(seconds=2), timedelta(seconds=10))


NEVER = ("jo@gmail..com", "jo@gmail.com.", "jo@[10.0.0.1", ".jo@gmail.com")
"""Texts that the pattern of an address accepts, and no mail server does."""


def command(to: str, channel: Any = "EMAIL") -> SendNotification:
    return SendNotification(to=to, channel=channel, template="payment-succeeded", data={})


def contact(user_id: str = "u-1", **known: Any) -> Contact:
    return Contact(user_id=user_id, updated_at=datetime.now(UTC), **{"opt_outs": [], **known})


def test_a_user_is_sent_to_at_the_address_of_the_channel() -> None:
    known = [contact(email="zoe@example.com", phone="+4915112345678", push="token")]
    addresses = [decide(command("u-1", channel), known, ALL) for channel in ("EMAIL", "SMS", "PUSH")]
    assert addresses == [Queue("zoe@example.com"), Queue("+4915112345678"), Queue("token")]


@pytest.mark.parametrize(("to", "channel"), [("zoe@example.com", "EMAIL"), ("+4915112345678", "SMS")])
def test_an_address_without_a_user_is_sent_to(to: str, channel: str) -> None:
    assert decide(command(to, channel), [], ALL) == Queue(to)


def test_a_device_is_sent_to_only_where_it_is_somebodys() -> None:
    assert decide(command("token", "PUSH"), [], ALL) == Fail("contact_unknown")
    assert decide(command("token", "PUSH"), [contact(push="token")], ALL) == Queue("token")


@pytest.mark.parametrize(
    ("to", "channel"),
    [("u-2", "EMAIL"), ("u-2", "PUSH"), ("zoe@example.com", "SMS"), ("0151 123", "SMS"), ("@zoe", "EMAIL")],
)
def test_an_unknown_recipient_that_is_no_address_of_the_channel_cannot_be_reached(to: str, channel: str) -> None:
    assert decide(command(to, channel), [], ALL) == Fail("contact_unknown")


@pytest.mark.parametrize(
    "address",
    ["a@b.cc,c@d.ee", "jo @example.com", "a@b@c.de", "@jo@c.de", "<jo@example.com>", "x" * 300 + "@b.cc", *NEVER],
)
def test_a_text_that_can_never_be_an_address_counts_as_none(address: str) -> None:
    assert decide(command(address), [], ALL) == Fail("address_invalid")
    payer = msgspec.structs.replace(command("u-1"), fallback=address)
    assert decide(payer, [], ALL) == Fail("address_invalid")
    assert decide(payer, [contact(phone="+4915112345678")], ALL) == Fail("address_unknown")
    assert decide(payer, [contact(email="zoe@example.com")], ALL) == Queue("zoe@example.com")


@pytest.mark.parametrize("never", NEVER)
def test_a_text_that_can_never_be_an_address_hides_no_good_one(never: str) -> None:
    asked = msgspec.structs.replace(command(never), fallback="payer@example.com")
    assert decide(asked, [], ALL) == Queue("payer@example.com")
    assert decide(asked, [contact(never, email=never)], ALL) == Queue("payer@example.com")
    assert decide(asked, [contact(email=never)], ALL) == Queue("payer@example.com")
    assert decide(asked, [contact(never, email="zoe@example.com")], ALL) == Queue("zoe@example.com")
    assert decide(asked, [contact(never, email=never, opt_outs=["EMAIL"])], ALL) == Suppress("opted_out")


@pytest.mark.parametrize("never", NEVER)
def test_a_contacts_address_that_can_never_be_one_counts_as_none(never: str) -> None:
    assert decide(command("u-1"), [contact(email=never)], ALL) == Fail("address_invalid")
    assert decide(command(never), [contact(email=never)], ALL) == Fail("address_invalid")
    both = msgspec.structs.replace(command("u-1"), fallback="jo@example..com")
    assert decide(both, [contact(email=never)], ALL) == Fail("address_invalid")
    assert decide(msgspec.structs.replace(command(never), fallback="nobody"), [], ALL) == Fail("address_invalid")


def test_a_user_without_an_address_of_the_channel_cannot_be_reached() -> None:
    assert decide(command("u-1"), [contact(phone="+4915112345678")], ALL) == Fail("address_unknown")


def test_an_unknown_user_is_sent_to_at_the_fallback() -> None:
    asked = msgspec.structs.replace(command("u-1"), fallback="payer@example.com")
    assert decide(asked, [], ALL) == Queue("payer@example.com")
    assert decide(asked, [contact(phone="+4915112345678")], ALL) == Queue("payer@example.com")
    assert decide(asked, [contact(email="zoe@example.com")], ALL) == Queue("zoe@example.com")
    assert decide(asked, [contact("u-2", email="payer@example.com", opt_outs=["EMAIL"])], ALL) == Suppress("opted_out")
    assert decide(msgspec.structs.replace(asked, fallback="nobody"), [], ALL) == Fail("contact_unknown")


@pytest.mark.parametrize("to", ["u-1", "zoe@example.com"])
def test_a_user_who_opted_out_is_not_sent_to_by_name_nor_by_address(to: str) -> None:
    known = [contact(email="zoe@example.com", opt_outs=["EMAIL"])]
    assert decide(command(to), known, ALL) == Suppress("opted_out")


def test_an_opt_out_holds_for_its_channel_alone() -> None:
    assert decide(command("u-1"), [contact(email="zoe@example.com", opt_outs=["SMS"])], ALL) == Queue("zoe@example.com")


def test_a_channel_without_a_destination_is_reported() -> None:
    assert decide(command("zoe@example.com"), [], {"SMS"}) == Fail("channel_not_configured")


@pytest.mark.parametrize(("attempts", "ceiling"), [(1, 2), (2, 4), (3, 8), (4, 10)])
def test_the_pause_doubles_to_its_limit_and_is_spread_over_all_of_it(attempts: int, ceiling: float) -> None:
    random, pauses = Random(attempts), []
    for _ in range(300):
        decision = after_failure(SendFailed("smtp_unavailable", ""), attempts, POLICY, random)
        assert isinstance(decision, RetryIn)
        pauses.append(decision.pause.total_seconds())
    assert 0 <= min(pauses) < ceiling / 10
    assert ceiling * 0.9 < max(pauses) <= ceiling


def test_the_last_attempt_and_a_refusal_for_good_end_it() -> None:
    assert after_failure(SendFailed("smtp_unavailable", ""), 5, POLICY, Random(1)) == Fail("smtp_unavailable")
    assert after_failure(SendFailed("recipient_refused", "", permanent=True), 1, POLICY, Random(1)) == Fail("recipient_refused")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("json://127.0.0.1:1/sms", "json://127.0.0.1:1/sms?:to=%2B491511&:id=%3Ca%40b%3E"),
        ("twilio://s:t@+1555/{to}", "twilio://s:t@+1555/%2B491511"),
        ("sinch://s:t@+1555?region=eu", "sinch://s:t@+1555?region=eu&to=%2B491511"),
    ],
)
def test_the_recipient_goes_into_the_url_of_the_provider(url: str, target: str) -> None:
    assert target_of(url, Message("<a@b>", "+491511", Text("hello"))) == target


def test_a_url_that_apprise_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="Apprise does not know"):
        check_url("nonsense://somewhere")
