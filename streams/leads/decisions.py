"""What follows from an attempt: pure functions, with the time and the randomness handed in."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, NamedTuple

# Client errors that time may mend; every other one says that this lead will never be taken.
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_BUSY: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_CLIENT_ERRORS: Final = range(400, 500)
_SUCCESSES: Final = range(200, 300)
_DOUBLINGS_MAX: Final = 40
RETRY_AFTER_MAX: Final = timedelta(days=1)
"""A CRM may ask for patience, but not for ever."""


class Answer(NamedTuple):
    """How an attempt went: the CRM's answer, or a stable word for why there was none."""

    status: int | None = None
    error: str | None = None
    excerpt: str | None = None
    retry_after: timedelta | None = None

    @property
    def delivered(self) -> bool:
        return self.error is None and self.status in _SUCCESSES

    @property
    def hold(self) -> timedelta | None:
        """For how long the CRM wants to be left alone, by all: it says so with 429 and 503 (RFC 6585, RFC 9110)."""
        if self.retry_after is None or self.status not in _BUSY:
            return None
        return min(self.retry_after, RETRY_AFTER_MAX)

    @property
    def healthy(self) -> bool:
        """Whether the CRM is there at all, whatever it thinks of this lead."""
        return self.status is not None and self.status < HTTPStatus.INTERNAL_SERVER_ERROR


class Policy(NamedTuple):
    """How often, and how long between."""

    max_attempts: int
    base: timedelta
    longest: timedelta


class Delivered(NamedTuple):
    """The CRM has it."""


class RetryAt(NamedTuple):
    """It is tried again then."""

    when: datetime


class Rejected(NamedTuple):
    """The CRM will never take it."""


class Exhausted(NamedTuple):
    """All attempts are used up."""


Decision = Delivered | RetryAt | Rejected | Exhausted


def decide(answer: Answer, failures: int, now: datetime, policy: Policy, draw: Callable[[], float]) -> Decision:
    """What to do after an attempt; `failures` counts those before it, `draw` gives numbers from 0 to 1."""
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
    """Anything up to the doubled pause ("full jitter"), so that leads that failed together do not come back together."""
    longest = policy.longest.total_seconds()
    pause = policy.base.total_seconds() * 2.0 ** min(failures, _DOUBLINGS_MAX)
    return timedelta(seconds=draw() * min(pause, longest))


def parse_retry_after(header: str | None, now: datetime) -> timedelta | None:
    """Seconds or a date (RFC 9110, 10.2.3); what is neither says nothing."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdecimal():
        return timedelta(seconds=min(int(text[:10]), int(RETRY_AFTER_MAX.total_seconds())))
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(timedelta(), moment - now)
