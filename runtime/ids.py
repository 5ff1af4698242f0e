"""UUIDv7 (RFC 9562): one id follows an event everywhere, and tells the day of the partition that holds it."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import uuid_utils.compat

_VERSION = 7
_TIME_SHIFT = 80  # the upper 48 of the 128 bits are Unix milliseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)

new_id = uuid_utils.compat.uuid7


def id_at(moment: datetime) -> UUID:
    """An id as if it were made at the moment: of a clock that is not this machine's."""
    return uuid_utils.compat.uuid7(nanoseconds=(moment - _EPOCH) // timedelta(microseconds=1) * 1000)


def is_time_ordered(value: UUID) -> bool:
    """Whether the id is a UUIDv7, the only kind the daily partitions can hold."""
    return value.version == _VERSION


def time_of(value: UUID) -> datetime:
    """When the id was made, to the millisecond; an id that claims to be made after the year 9999, at the end of it."""
    return _EPOCH + timedelta(milliseconds=min(value.int >> _TIME_SHIFT, _LAST))


def first_id_of(moment: date | datetime) -> UUID:
    """The smallest id that can be made at or after the moment: a bound for partitions and time ranges."""
    at = moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    # The first 48 bits only: version and variant bits would put the bound above ids of the same millisecond
    # whose random part is smaller.
    return UUID(int=((at - _EPOCH) // timedelta(milliseconds=1)) << _TIME_SHIFT)
