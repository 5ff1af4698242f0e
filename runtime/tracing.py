"""W3C Trace Context: a trace is taken from the caller or starts here; every log line and event carries it."""

import random
import re
import secrets
from collections.abc import Callable
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_VERSION = "00"
_INVALID_VERSION = "ff"


class Trace(NamedTuple):
    """One step of one trace: 32 and 16 lower-case hex digits."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def child(self) -> "Trace":
        """Return the next step of the same trace."""
        # Unique, not secret: the system's randomness would cost intake a system call a request.
        return Trace(self.trace_id, f"{random.getrandbits(64):016x}", self.sampled)


Sampler = Callable[[str, Trace | None], bool]
"""Decides from a trace id, and the step of the caller if there is one, whether the trace is recorded."""

_sampler: Sampler | None = None


def sample_by(sampler: Sampler | None) -> None:
    """Use this sampler for every trace that begins or comes in; without one, a trace is sampled unless its caller excludes it."""
    global _sampler  # noqa: PLW0603  # one a process, as with logging
    _sampler = sampler


def new_trace() -> Trace:
    return _judged(Trace(secrets.token_hex(16), secrets.token_hex(8)), None)


def trace_of_call(header: str | None, name: str) -> Trace:
    """Return the next step of the trace in a `traceparent` header, or a new trace whose id is the name, 32 hex digits."""
    caller = parse_traceparent(header)
    return _judged(caller.child(), caller) if caller else _judged(Trace(name, name[16:]), None)


def _judged(trace: Trace, caller: Trace | None) -> Trace:
    return trace if _sampler is None else trace._replace(sampled=_sampler(trace.trace_id, caller))


def parse_traceparent(header: str | None) -> Trace | None:
    """Parse a `traceparent` header; return None if it breaks the rule (https://www.w3.org/TR/trace-context/)."""
    match = _TRACEPARENT.fullmatch(header) if header else None
    if match is None or match[1] == _INVALID_VERSION or not int(match[2], 16) or not int(match[3], 16):
        return None
    if match[1] == _VERSION and match[5]:
        return None  # only a later version may say more
    return Trace(match[2], match[3], bool(int(match[4], 16) & 1))


def trace_id_of(header: str | None) -> str | None:
    """The trace id of a `traceparent` header; None where the header breaks the rule."""
    trace = parse_traceparent(header)
    return trace.trace_id if trace else None


def span_id_of(header: str | None) -> str | None:
    """The span id of a `traceparent` header; None where the header breaks the rule."""
    trace = parse_traceparent(header)
    return trace.span_id if trace else None


def continue_trace(header: str | None) -> Trace:
    """Return the next step of the caller's trace, or of a new one."""
    caller = parse_traceparent(header)
    return caller.child() if caller else new_trace()
