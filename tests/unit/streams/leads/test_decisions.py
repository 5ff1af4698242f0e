"""The decision after an attempt, as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.leads.decisions import (
    Answer,
    Delivered,
    Exhausted,
    Policy,
    Rejected,
    RetryAt,
    backoff,
    decide,
)
from streams.retry_after import RETRY_AFTER_MAX, parse_retry_after

NOW: Final = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
POLICY: Final = Policy(max_attempts=4, base=timedelta(seconds=10), longest=timedelta(minutes=1))


def word(status: int) -> str | None:
    return None if 200 <= status < 300 else f"http_{status}"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_delivery(status: int) -> None:
    assert decide(Answer(status), 3, NOW, POLICY, lambda: 1.0) == Delivered()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422, 451])
def test_other_client_errors_fail_at_once(status: int) -> None:
    assert decide(Answer(status, word(status)), 0, NOW, POLICY, lambda: 1.0) == Rejected()


@pytest.mark.parametrize(
    "answer", [*(Answer(s, word(s)) for s in (302, 307, 408, 409, 421, 423, 425, 429, 500, 503)), Answer(error="timeout")]
)
def test_a_transient_failure_is_retried_until_attempts_run_out(answer: Answer) -> None:
    assert decide(answer, 0, NOW, POLICY, lambda: 1.0) == RetryAt(NOW + timedelta(seconds=10))
    assert decide(answer, 2, NOW, POLICY, lambda: 0.5) == RetryAt(NOW + timedelta(seconds=20))
    assert decide(answer, 3, NOW, POLICY, lambda: 1.0) == Exhausted()
    assert decide(answer, 9, NOW, POLICY, lambda: 1.0) == Exhausted()


@pytest.mark.parametrize(("failures", "seconds"), [(0, 10), (1, 20), (2, 40), (3, 60), (50, 60), (10**6, 60)])
def test_the_pause_doubles_up_to_the_longest(failures: int, seconds: int) -> None:
    assert backoff(failures, POLICY, lambda: 1.0) == timedelta(seconds=seconds)


@given(st.integers(0, 100), st.floats(0, 1))
def test_jitter_is_full(failures: int, drawn: float) -> None:
    assert backoff(failures, POLICY, lambda: drawn) == backoff(failures, POLICY, lambda: 1.0) * drawn


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(timedelta(seconds=3), 10), (timedelta(seconds=45), 45), (timedelta(days=9), RETRY_AFTER_MAX.total_seconds())],
)
def test_retry_after_lengthens_the_pause_and_never_shortens_it(asked: timedelta, seconds: float) -> None:
    decided = decide(Answer(429, "http_429", retry_after=asked), 0, NOW, POLICY, lambda: 1.0)
    assert decided == RetryAt(NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("120", timedelta(seconds=120)),
        ("9" * 30, RETRY_AFTER_MAX),
        ("Tue, 24 Nov 2026 16:02:00 GMT", timedelta(minutes=2)),
        ("Tue, 24 Nov 2026 15:00:00 GMT", timedelta()),
        ("Tue, 24 Nov 2026 16:02:00 -0000", timedelta(minutes=2)),
        ("Tue, 24 Nov 2026 16:00:60 GMT", timedelta(seconds=59)),  # RFC 9110 has leap seconds
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, pause: timedelta | None) -> None:
    assert parse_retry_after(header, NOW) == pause


@pytest.mark.parametrize("sent", ["Wed, 24 Nov 2027 16:02:00 GMT", "Mon, 24 Nov 2025 16:02:00 GMT"])
def test_a_date_is_counted_by_the_clock_of_the_server_that_states_it(sent: str) -> None:
    assert parse_retry_after(sent.replace("02:00", "04:30"), NOW, sent=sent) == timedelta(seconds=150)
    assert parse_retry_after("7", NOW, sent=sent) == timedelta(seconds=7)
    assert parse_retry_after("Tue, 24 Nov 2026 16:02:00 GMT", NOW, sent="soon") == timedelta(minutes=2)


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [(Answer(204), True), (Answer(404, "http_404"), True), (Answer(500, "http_500"), False), (Answer(error="timeout"), False)],
)
def test_a_crm_that_answers_is_healthy_whatever_it_thinks_of_the_lead(answer: Answer, *, healthy: bool) -> None:
    assert answer.healthy is healthy


@pytest.mark.parametrize(("code", "hold"), [(429, 60), (503, 60), (500, None), (200, None)])
def test_a_busy_crm_may_delay_all_its_leads(code: int, hold: int | None) -> None:
    answer = Answer(status=code, retry_after=timedelta(seconds=60))
    assert answer.requested_pause == (timedelta(seconds=hold) if hold else None)
    assert answer._replace(retry_after=timedelta(days=30)).requested_pause in (None, RETRY_AFTER_MAX)
    assert answer._replace(retry_after=None).requested_pause is None
