"""A caller's trace is continued if its header is valid, and replaced if it is not."""

from __future__ import annotations

from typing import Final

import pytest

from runtime.tracing import Trace, continue_trace, new_trace, parse_traceparent

TRACE_ID: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID: Final = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE_ID}-{SPAN_ID}-01", Trace(TRACE_ID, SPAN_ID, sampled=True)),
        (f"00-{TRACE_ID}-{SPAN_ID}-00", Trace(TRACE_ID, SPAN_ID, sampled=False)),
        (f"00-{TRACE_ID}-{SPAN_ID}-ff", Trace(TRACE_ID, SPAN_ID, sampled=True)),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01", Trace(TRACE_ID, SPAN_ID, sampled=True)),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like", Trace(TRACE_ID, SPAN_ID, sampled=True)),
    ],
)
def test_a_good_traceparent_is_read(header: str, trace: Trace) -> None:
    assert parse_traceparent(header) == trace


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID}-{SPAN_ID}-001",
        f"00-{TRACE_ID}-{SPAN_ID}-01-",
        f"00-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like",
        f"cc-{TRACE_ID}-{SPAN_ID}-01.what",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"00-{TRACE_ID[:-1]}g-{SPAN_ID}-01",
        f"00_{TRACE_ID}_{SPAN_ID}_01",
        f" 00-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01\n",
    ],
)
def test_a_bad_traceparent_is_none_and_a_new_trace_begins(header: str | None) -> None:
    assert parse_traceparent(header) is None
    assert continue_trace(header).trace_id != TRACE_ID


def test_the_next_step_keeps_the_trace_and_has_a_span_of_its_own() -> None:
    step = continue_trace(f"00-{TRACE_ID}-{SPAN_ID}-00")
    assert step.trace_id == TRACE_ID
    assert step.span_id != SPAN_ID
    assert not step.sampled


def test_a_new_trace_reads_back_from_its_header() -> None:
    trace = new_trace()
    assert parse_traceparent(trace.traceparent) == trace
