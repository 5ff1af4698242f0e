"""The query of the delivery log: its filters, and the cursor that leads to the next page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, NamedTuple, cast, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.admin.settled import Settled
from gateway.errors import GatewayError, Reason
from gateway.route import Parameter
from runtime.ids import first_id_of, is_time_ordered, time_of
from schemas.numbers import Decoder
from schemas.stripe import Mode
from schemas.text import Cursor, Filter, TraceId

Outcome = Literal["accepted", "duplicate", "ignored", "rejected"]

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
Limit = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]
_limit_in: Final[Decoder[int]] = Decoder(Limit)
_TRACE_LENGTH: Final = 32
# A trace that began here is named after its first id, so its deliveries have ids of about that time. One that a caller began
# may be of any time: the last day is searched, unless the query says otherwise. An index would cost every webhook.
_TRACE_LASTS: Final = timedelta(minutes=10)
_TRACE_SEARCHED: Final = timedelta(days=1)


OF_PAGES: Final = (
    Parameter("from", datetime, "What is not older than this time."),
    Parameter("to", datetime, "What is older than this time."),
    Parameter("limit", Limit, f"How many at most; {LIMIT_DEFAULT} unless told."),
    Parameter("cursor", Cursor, "The `next` of the page before."),
)
OF_DELIVERIES: Final = (
    Parameter("source", Filter, "Who sent it: `stripe`, `razorpay` or `partner`."),
    Parameter("type", Filter, "The type of the event, in the sender's words."),
    Parameter("outcome", Outcome, "What was said to it."),
    Parameter("reason", Filter, "Why it was rejected or ignored."),
    Parameter("mode", Mode, "`live` or `test`, as the event states it; what states none is left out."),
    Parameter("account", Filter, "The provider's account that it is of: Stripe's `acct_…`, Razorpay's `acc_…`."),
    Parameter("settled", Settled, "Where it is now, if it was taken; `missing` is one that has lost its event."),
    Parameter("trace", TraceId, "The id of its trace, the `X-Trace-Id` of its answer."),
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


class PageQuery(NamedTuple):
    """Which page of a log: its span of ids, `first` <= id < `before`, and how many."""

    first: UUID
    before: UUID
    limit: int


def names_of(parameters: Iterable[Parameter]) -> frozenset[str]:
    """What may stand in a query that has these parameters."""
    return frozenset(parameter.name for parameter in parameters)


def parse_page(given: Mapping[str, str], known: frozenset[str], now: datetime) -> PageQuery:
    """
    What `from`, `to`, `limit` and `cursor` state.

    Raises GatewayError `query_malformed`; a parameter that nobody knows is refused too, for it would widen what is found.
    """
    _check_known(given, known)
    return _page(given, *_span(None, now))


def parse_query(given: Mapping[str, str], now: datetime) -> Query:
    """
    The query that the parameters state.

    Raises GatewayError `query_malformed`; a parameter that nobody knows is refused too, for it would widen what is found.
    """
    _check_known(given, names_of(OF_DELIVERIES))
    outcome, mode = _word(given, "outcome", Outcome), _word(given, "mode", Mode)
    settled = cast("Settled | None", _word(given, "settled", Settled))
    trace_id = _trace_id(given.get("trace"))
    page = _page(given, *_span(trace_id, now))
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


def parse_period(given: Mapping[str, str], now: datetime, span: timedelta) -> tuple[datetime, datetime]:
    """What `from` and `to` state; up to now unless told, and so long. Raises GatewayError `query_malformed`."""
    end = _time(given, "to", now)
    return _time(given, "from", end - span), end


def parse_limit(given: Mapping[str, str]) -> int:
    """What `limit` states. Raises GatewayError `query_malformed`."""
    return _limit(given.get("limit"))


def cursor_of(last: UUID) -> str:
    """Leads to what is older than this id."""
    return urlsafe_b64encode(last.bytes).decode().rstrip("=")


def id_of(text: str, noun: str) -> UUID:
    """
    The id of a delivery, a task or what else the noun says.

    Raises GatewayError `not_found`: what is no UUIDv7 names none of ours.
    """
    try:
        found = UUID(text)
    except ValueError as error:
        raise GatewayError(Reason.NOT_FOUND, f"no {noun} has this id") from error
    if not is_time_ordered(found):
        raise GatewayError(Reason.NOT_FOUND, f"no {noun} has this id")
    return found


def _check_known(given: Mapping[str, str], known: frozenset[str]) -> None:
    if unknown := set(given) - known:
        raise GatewayError(Reason.QUERY_MALFORMED, f"unknown: {', '.join(sorted(unknown))}")


def _page(given: Mapping[str, str], earliest: datetime, latest: datetime) -> PageQuery:
    first = first_id_of(_time(given, "from", earliest))
    before = first_id_of(_time(given, "to", latest))
    if cursor := given.get("cursor"):
        before = min(before, _last_of(cursor))
    return PageQuery(first, before, _limit(given.get("limit")))


def _span(trace_id: str | None, now: datetime) -> tuple[datetime, datetime]:
    end = now + timedelta(minutes=1)  # other gateways' clocks may be ahead
    if trace_id is None:
        return datetime(1970, 1, 1, tzinfo=UTC), end
    named_after = UUID(trace_id)
    if is_time_ordered(named_after) and now - timedelta(days=3660) < time_of(named_after) < end:
        began = time_of(named_after)
        return began, began + _TRACE_LASTS
    return now - _TRACE_SEARCHED, end


def _word(given: Mapping[str, str], name: str, known: Any) -> str | None:
    """One of the words of a Literal."""
    word = given.get(name)
    if word is not None and word not in get_args(known):
        raise GatewayError(Reason.QUERY_MALFORMED, f"{name} is one of {', '.join(get_args(known))}")
    return word


def _trace_id(text: str | None) -> str | None:
    if text is None:
        return None
    if len(text) != _TRACE_LENGTH or not set(text) <= set("0123456789abcdef"):
        raise GatewayError(Reason.QUERY_MALFORMED, "trace is 32 lower-case hex digits")
    return text


def _time(given: Mapping[str, str], name: str, otherwise: datetime) -> datetime:
    text = given.get(name)
    if text is None:
        return otherwise
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(moment, datetime(1970, 1, 1, tzinfo=UTC))
    except ValueError as error:
        raise GatewayError(Reason.QUERY_MALFORMED, f"{name} is a time like 2026-11-24T10:00:00Z") from error


def _last_of(cursor: str) -> UUID:
    try:
        return UUID(bytes=urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise GatewayError(Reason.QUERY_MALFORMED, "cursor is not one that was given out") from error


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT_DEFAULT
    try:
        return _limit_in.decode(text.encode("utf-8", "replace") if text == text.strip() else b"")
    except msgspec.DecodeError as error:
        raise GatewayError(Reason.QUERY_MALFORMED, f"limit is a whole number from 1 to {LIMIT_MAX}") from error
