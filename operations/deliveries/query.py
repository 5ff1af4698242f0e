"""The query of the delivery log: its filters."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, cast
from uuid import UUID

from gateway.errors import GatewayError, Reason
from gateway.paging import EVER, OF_PAGES, check_known, names_of, page_between, up_to, word_of
from gateway.route import Parameter
from operations.deliveries.settled import Settled
from runtime.ids import is_time_ordered, time_of
from schemas.providers import SOURCES, Mode, either, providers
from schemas.text import Filter, TraceId

Outcome = Literal["accepted", "duplicate", "ignored", "rejected"]

_TRACE_LENGTH: Final = 32
# A trace that began here is named after its first id, so its deliveries have ids of about that time. One that a caller began
# may be of any time: the last day is searched, unless the query says otherwise. An index would cost every webhook.
_TRACE_LASTS: Final = timedelta(minutes=10)
_TRACE_SEARCHED: Final = timedelta(days=1)

_ACCOUNTS: Final = either(f"{provider.title}'s `{provider.account_prefix}…`" for provider in providers())

OF_DELIVERIES: Final = (
    Parameter("source", Filter, f"Only deliveries of this source: {either(f'`{source}`' for source in SOURCES)}."),
    Parameter("type", Filter, "Only deliveries of events of this type of the provider."),
    Parameter("outcome", Outcome, "Only deliveries with this outcome."),
    Parameter("reason", Filter, "Only deliveries that were rejected or ignored for this reason."),
    Parameter("mode", Mode, "Only deliveries of events that state this mode."),
    Parameter("account", Filter, f"Only deliveries of this account: {_ACCOUNTS}."),
    Parameter("settled", Settled, "Only accepted deliveries in this state; `missing` deliveries have lost their event."),
    Parameter("trace", TraceId, "Only deliveries of this trace, the `X-Trace-Id` of their answers."),
    *OF_PAGES,
)


class Query(NamedTuple):
    """Which deliveries are asked for; ids carry their time, so a span of time is a span of ids: `first` <= id < `before`."""

    source: str | None
    type: str | None
    outcome: str | None
    reason: str | None
    livemode: bool | None
    account: str | None
    settled: Settled | None
    trace_id: str | None
    first: UUID
    before: UUID
    limit: int


def parse_query(given: Mapping[str, str], now: datetime) -> Query:
    """
    The query that the parameters state.

    Raises GatewayError `query_malformed`; a parameter that nobody knows is refused too, for it would widen what is found.
    """
    check_known(given, names_of(OF_DELIVERIES))
    outcome, mode = word_of(given, "outcome", Outcome), word_of(given, "mode", Mode)
    settled = cast("Settled | None", word_of(given, "settled", Settled))
    trace_id = _trace_id(given.get("trace"))
    page = page_between(given, *_span(trace_id, now))
    return Query(
        source=given.get("source"),
        type=given.get("type"),
        outcome=outcome,
        reason=given.get("reason"),
        livemode=None if mode is None else mode == "live",
        account=given.get("account"),
        settled=settled,
        trace_id=trace_id,
        first=page.first,
        before=page.before,
        limit=page.limit,
    )


def _span(trace_id: str | None, now: datetime) -> tuple[datetime, datetime]:
    end = up_to(now)
    if trace_id is None:
        return EVER, end
    named_after = UUID(trace_id)
    if is_time_ordered(named_after) and now - timedelta(days=3660) < time_of(named_after) < end:
        began = time_of(named_after)
        return began, began + _TRACE_LASTS
    return now - _TRACE_SEARCHED, end


def _trace_id(text: str | None) -> str | None:
    if text is None:
        return None
    if len(text) != _TRACE_LENGTH or not set(text) <= set("0123456789abcdef"):
        raise GatewayError(Reason.QUERY_MALFORMED, "trace is 32 lower-case hex digits")
    return text
