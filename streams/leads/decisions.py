"""Decides what follows from an attempt: pure functions that are given the time and the randomness."""

from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final, NamedTuple

from streams.retry_after import RETRY_AFTER_MAX

# Client errors that may pass; every other one means that this lead will never be accepted.
_PASSING: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.MISDIRECTED_REQUEST,  # of a balancer: another connection may reach the CRM (RFC 9110, 15.5.20)
        HTTPStatus.LOCKED,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
_BUSY: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_CLIENT_ERRORS: Final = range(400, 500)
SUCCESSES: Final = range(200, 300)
_DOUBLINGS_MAX: Final = 40
_INTERRUPTIONS_MIN: Final = 3
ATTEMPT_FAILED: Final = "attempt_failed"
"""Our own code failed in the attempt, which is not the CRM's fault."""
INTERRUPTED: Final = "interrupted"
"""The worker ended while it made the attempt."""


class Answer(NamedTuple):
    """The result of an attempt: the CRM's answer, or the reason for which there was none."""

    status: int | None = None
    error: str | None = None
    excerpt: str | None = None
    retry_after: timedelta | None = None

    @property
    def delivered(self) -> bool:
        return self.error is None and self.status in SUCCESSES

    @property
    def requested_pause(self) -> timedelta | None:
        """Return how long the CRM wants no leads at all, which 429 and 503 mean (RFC 6585, RFC 9110)."""
        if self.retry_after is None or self.status not in _BUSY:
            return None
        return min(self.retry_after, RETRY_AFTER_MAX)

    @property
    def healthy(self) -> bool:
        """Return whether the CRM works, even if it refuses this lead."""
        return self.status is not None and self.status < HTTPStatus.INTERNAL_SERVER_ERROR


class Policy(NamedTuple):
    """The number of attempts, and the pauses between them."""

    max_attempts: int
    base: timedelta
    longest: timedelta


class Delivered(NamedTuple):
    """The CRM has accepted the lead."""


class RetryAt(NamedTuple):
    """The lead is tried again at that time."""

    when: datetime


class Rejected(NamedTuple):
    """The CRM will never accept the lead."""


class Exhausted(NamedTuple):
    """All attempts are used up."""


Decision = Delivered | RetryAt | Rejected | Exhausted


def decide(answer: Answer, failures: int, now: datetime, policy: Policy, draw: Callable[[], float]) -> Decision:
    """Decide after an attempt; `failures` counts those before it, `draw` returns numbers from 0 to 1."""
    if answer.delivered:
        return Delivered()
    if answer.status in _CLIENT_ERRORS and answer.status not in _PASSING:
        return Rejected()
    if failures + 1 >= policy.max_attempts:
        return Exhausted()
    pause = backoff(failures, policy, draw)
    if answer.retry_after is not None:
        pause = max(pause, min(answer.retry_after, RETRY_AFTER_MAX))
    return RetryAt(now + pause)


def backoff(failures: int, policy: Policy, draw: Callable[[], float]) -> timedelta:
    """Return a random pause up to the doubled one ("full jitter"): leads that failed together are not retried together."""
    longest = policy.longest.total_seconds()
    pause = policy.base.total_seconds() * 2.0 ** min(failures, _DOUBLINGS_MAX)
    return timedelta(seconds=draw() * min(pause, longest))


def given_up(interruptions: int, policy: Policy) -> bool:
    """
    Return whether a lead has ended its worker too often to be tried again; `interruptions` counts those in a row.

    An interruption alone is no fault of the partner, so it uses up no attempt. But a lead that ends the process which sends it
    would do so for ever.
    """
    return interruptions >= max(_INTERRUPTIONS_MIN, policy.max_attempts)


def fallback_decision(answer: Answer, failures: int, now: datetime, policy: Policy) -> Decision:
    """Decide in place of `decide` when that fails: likewise, but with the longest pause."""
    if answer.delivered:
        return Delivered()
    return Exhausted() if failures + 1 >= policy.max_attempts else RetryAt(now + min(policy.longest, RETRY_AFTER_MAX))
