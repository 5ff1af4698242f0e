"""UUIDv7 (RFC 9562): one id follows an event everywhere, and gives the day of the partition that holds it."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import uuid_utils.compat

_VERSION = 7
_TIME_SHIFT = 80  # the upper 48 of the 128 bits are Unix milliseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)

new_id = uuid_utils.compat.uuid7


def id_at(moment: datetime) -> UUID:
    """Return an id for the moment of a clock that is not this machine's."""
    return uuid_utils.compat.uuid7(nanoseconds=(moment - _EPOCH) // timedelta(microseconds=1) * 1000)


def is_time_ordered(value: UUID) -> bool:
    """Report whether the id is a UUIDv7, the only kind that the daily partitions can hold."""
    return value.version == _VERSION


def time_of(value: UUID) -> datetime:
    """Return the time at which the id was made, to the millisecond; for a time after the year 9999, the end of that year."""
    return _EPOCH + timedelta(milliseconds=min(value.int >> _TIME_SHIFT, _LAST))


def first_id_of(moment: date | datetime) -> UUID:
    """Return the smallest id of the moment, of the epoch at the earliest: a bound for partitions and time ranges."""
    at = moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    # The first 48 bits only: version and variant bits would put the bound above ids of the same millisecond
    # whose random part is smaller.
    return UUID(int=(max(at - _EPOCH, timedelta()) // timedelta(milliseconds=1)) << _TIME_SHIFT)
