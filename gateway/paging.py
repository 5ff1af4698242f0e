"""The pages of a list: what its query states, and the cursor that leads to the next page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.errors import GatewayError, Reason
from gateway.route import Parameter
from runtime.ids import first_id_of, is_time_ordered
from schemas.numbers import Decoder
from schemas.text import Cursor

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
Limit = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]
_limit_in: Final[Decoder[int]] = Decoder(Limit)
EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Before everything."""

OF_PAGES: Final = (
    Parameter("from", datetime, "The earliest time, included; UTC unless it has an offset."),
    Parameter("to", datetime, "The latest time, excluded; UTC unless it has an offset."),
    Parameter("limit", Limit, f"The maximum number of items; {LIMIT_DEFAULT} by default."),
    Parameter("cursor", Cursor, "The `next` of the previous page; absent for the first page."),
)


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
    check_known(given, known)
    return page_between(given, EVER, up_to(now))


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


def check_known(given: Mapping[str, str], known: frozenset[str]) -> None:
    """Raises GatewayError `query_malformed`: a parameter that nobody knows would widen what is found."""
    if unknown := set(given) - known:
        raise GatewayError(Reason.QUERY_MALFORMED, f"unknown: {', '.join(sorted(unknown))}")


def page_between(given: Mapping[str, str], earliest: datetime, latest: datetime) -> PageQuery:
    """The page that is stated, within these times unless it states others. Raises GatewayError `query_malformed`."""
    first = first_id_of(_time(given, "from", earliest))
    before = first_id_of(_time(given, "to", latest))
    if cursor := given.get("cursor"):
        before = min(before, _last_of(cursor))
    return PageQuery(first, before, _limit(given.get("limit")))


def up_to(now: datetime) -> datetime:
    """The end of a span that ends now: other gateways' clocks may be ahead."""
    return now + timedelta(minutes=1)


def word_of(given: Mapping[str, str], name: str, known: Any) -> str | None:
    """One of the words of a Literal, or None. Raises GatewayError `query_malformed`."""
    word = given.get(name)
    if word is not None and word not in get_args(known):
        raise GatewayError(Reason.QUERY_MALFORMED, f"{name} is one of {', '.join(get_args(known))}")
    return word


def _time(given: Mapping[str, str], name: str, otherwise: datetime) -> datetime:
    text = given.get(name)
    if text is None:
        return otherwise
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(moment, EVER)
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
