"""The pages of a list: the query for a page, and the cursor of the next one."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.errors import GatewayError, Reason
from runtime.ids import first_id_of, is_time_ordered
from runtime.moments import EPOCH
from schemas.text import Cursor

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500

Item = TypeVar("Item")
_TIME_BYTES: Final = 8
_FOREIGN: Final = "cursor is not one that this list returned"


class Page(msgspec.Struct, Generic[Item], frozen=True, omit_defaults=True):
    """Newest first; `next` is the cursor of the following page, absent on the last one."""

    items: list[Item]  #: The items.
    next: str | None = None  #: The cursor of the following page; absent on the last page.


class Limited(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of every list."""

    limit: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX), Meta(description=f"The maximum number of items; {LIMIT_DEFAULT} by default.")
    ] = LIMIT_DEFAULT
    cursor: Annotated[Cursor, Meta(description="The `next` of the previous page; absent for the first page.")] | None = None

    @property
    def last(self) -> UUID | None:
        """The id of the last item of the previous page. Raises GatewayError `query_malformed`."""
        return _last_id(self.cursor) if self.cursor else None


class Paged(Limited, frozen=True, kw_only=True):
    """The query of a list that has a time for each item."""

    since: Annotated[datetime, Meta(description="The earliest time, included; UTC unless it has an offset.")] | None = (
        msgspec.field(default=None, name="from")
    )
    until: Annotated[datetime, Meta(description="The latest time, excluded; UTC unless it has an offset.")] | None = (
        msgspec.field(default=None, name="to")
    )

    def period(self, earliest: datetime, latest: datetime) -> tuple[datetime, datetime]:
        """The requested times, with these as defaults."""
        return self.since or earliest, self.until or latest

    def ids(self, now: datetime, earliest: datetime = EPOCH, latest: datetime | None = None) -> tuple[UUID, UUID]:
        """The span of ids, `first` <= id < `before`, since an id carries its time. Raises GatewayError `query_malformed`."""
        begin, end = self.period(earliest, latest or up_to(now))
        before = first_id_of(end)
        return first_id_of(begin), min(before, self.last or before)


def cursor_of(last: UUID, at: datetime | None = None) -> str:
    """The cursor of the page after this item; `at` is its time, if the list is ordered by a time and then by id."""
    time = b"" if at is None else ((at - EPOCH) // timedelta(microseconds=1)).to_bytes(_TIME_BYTES)
    return _text_of(time + last.bytes)


def last_of(cursor: str) -> tuple[datetime, UUID]:
    """
    The time and the id of the item from which a cursor was made.

    Raises GatewayError `query_malformed`, also for the cursor of a list that has another order.
    """
    try:
        raw = _bytes_of(cursor)
        time = int.from_bytes(raw[:_TIME_BYTES])
        return EPOCH + timedelta(microseconds=time), UUID(bytes=raw[_TIME_BYTES:])
    except (ValueError, OverflowError) as error:
        raise GatewayError(Reason.QUERY_MALFORMED, _FOREIGN) from error


def _last_id(cursor: str) -> UUID:
    """The id of the item from which a cursor was made, in a list that is ordered by id. Raises as `last_of` does."""
    try:
        return UUID(bytes=_bytes_of(cursor))
    except ValueError as error:
        raise GatewayError(Reason.QUERY_MALFORMED, _FOREIGN) from error


def place_cursor(at: datetime, *names: str) -> str:
    """The cursor of the page after the item with this time and these names, in a list that is ordered by them."""
    time = ((at - EPOCH) // timedelta(microseconds=1)).to_bytes(_TIME_BYTES, signed=True)
    return _text_of(time + "\0".join(names).encode())


def place_of(cursor: str) -> tuple[Any, ...]:
    """The time and the names of the item from which a cursor was made. Raises GatewayError `query_malformed`."""
    try:
        raw = _bytes_of(cursor)
        names = raw[_TIME_BYTES:].decode().split("\0")
        return EPOCH + timedelta(microseconds=int.from_bytes(raw[:_TIME_BYTES], signed=True)), *names
    except (ValueError, OverflowError) as error:
        raise GatewayError(Reason.QUERY_MALFORMED, _FOREIGN) from error


def id_of(text: str, noun: str) -> UUID:
    """
    The id in a path; the noun names its kind in the refusal.

    Raises GatewayError `not_found`: all our ids are UUIDv7.
    """
    try:
        found = UUID(text)
    except ValueError as error:
        raise GatewayError(Reason.NOT_FOUND, f"no {noun} has this id") from error
    if not is_time_ordered(found):
        raise GatewayError(Reason.NOT_FOUND, f"no {noun} has this id")
    return found


def up_to(now: datetime) -> datetime:
    """The end of a period up to now, with a margin: other gateways' clocks may be ahead."""
    return now + timedelta(minutes=1)


def _text_of(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes_of(cursor: str) -> bytes:
    """Raises ValueError."""
    return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
