"""Decides about a command, and about an attempt that failed: pure functions."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from random import Random
from typing import NamedTuple

import msgspec

from projections.contacts import Contact
from schemas.addresses import mailbox_of
from schemas.operations import Channel, SendNotification
from schemas.text import Phone, accepts
from streams.notifications.senders import SendFailed, SendReason


class Queue(NamedTuple):
    """Send the message to this address."""

    address: str


class Suppress(NamedTuple):
    """Do not send the message: the recipient does not want it."""

    reason: str


class Fail(NamedTuple):
    """The message can never be sent."""

    reason: str


class RetryIn(NamedTuple):
    """Try again after this pause."""

    pause: timedelta


class Policy(NamedTuple):
    """The number of attempts to send a message, and the pauses between them."""

    attempts_max: int
    base: timedelta
    longest: timedelta


def decide(command: SendNotification, known: Sequence[Contact], configured: Collection[Channel]) -> Queue | Suppress | Fail:
    """
    Decide about a command; `known` are the contacts that its `to` and its `fallback` name, by user id or by address.

    Nothing is sent to an address whose user has opted out.
    """
    if any(command.channel in contact.opt_outs for contact in known):
        return Suppress("opted_out")
    address = _address(command, known) or _fallback(command, known)
    if address is None:
        return Fail(_reason_without_address(command, known))
    if command.channel not in configured:
        return Fail("channel_not_configured")
    return Queue(address)


def _reason_without_address(command: SendNotification, known: Sequence[Contact]) -> str:
    """Return why there is no address: none is known, or those known are invalid; `@zoe` may be the id of a user."""
    if known:
        is_invalid = command.channel == "EMAIL" and any(contact.email for contact in known)
        return SendReason.ADDRESS_INVALID if is_invalid else "address_unknown"
    named = (command.to, command.fallback or "")
    is_invalid = command.channel == "EMAIL" and any("@" in text.strip("@") for text in named)
    return SendReason.ADDRESS_INVALID if is_invalid else "contact_unknown"


def _address(command: SendNotification, known: Sequence[Contact]) -> str | None:
    own = next((contact for contact in known if contact.user_id == command.to), None)
    address = command.to if own is None else own.address(command.channel)
    if address is None:
        return None
    # An address without a mailbox would fail for good, and would be used instead of the payer's own.
    if command.channel == "EMAIL":
        return address if mailbox_of(address) else None
    # A device's token has no recognisable form, so PUSH needs a contact.
    is_of_contact = own is not None or any(contact.address(command.channel) == address for contact in known)
    return address if is_of_contact or (command.channel == "SMS" and accepts(Phone, address)) else None


def _fallback(command: SendNotification, known: Sequence[Contact]) -> str | None:
    if command.fallback is None:
        return None
    return _address(msgspec.structs.replace(command, to=command.fallback), known)


def after_failure(failure: SendFailed, attempts: int, policy: Policy, random: Random) -> RetryIn | Fail:
    """Retry with exponential backoff and full jitter, up to a number of attempts; a permanent refusal fails at once."""
    if failure.permanent or attempts >= policy.attempts_max:
        return Fail(failure.reason)
    # 2**30 seconds are beyond any limit: a higher power would overflow before it is capped.
    ceiling = min(policy.base.total_seconds() * 2 ** min(attempts - 1, 30), policy.longest.total_seconds())
    return RetryIn(timedelta(seconds=random.uniform(0, ceiling)))
