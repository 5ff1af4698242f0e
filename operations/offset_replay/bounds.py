"""The bounds of a replay, as a command line names them."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from operations.errors import OperationError, Reason
from runtime.moments import moment_of

_NUMBERS: Final = re.compile("([0-9]{1,9}):([0-9]{1,18})")  # what Kafka's numbers hold


class Beginning(NamedTuple):
    """At the log's first record."""


class End(NamedTuple):
    """At the end that the log has when the replay begins."""


class Moment(NamedTuple):
    """At the first record of that time or later."""

    at: datetime


class Numbers(NamedTuple):
    """At these offsets, by partition; the other partitions are left out."""

    offsets: Mapping[int, int]


Start = Beginning | Moment | Numbers
Stop = End | Moment | Numbers


def start_of(offsets: Sequence[str], time: str | None, *, beginning: bool, now: datetime) -> Start:
    """The start, named in exactly one of the three ways. Raises OperationError with reason `bound_malformed`."""
    if [bool(offsets), time is not None, beginning].count(True) != 1:
        raise OperationError(
            Reason.BOUND_MALFORMED, "name the beginning in one way: --from-offset P:N, --from-time T or --from-start"
        )
    if offsets:
        return Numbers(numbers_in(offsets))
    return Beginning() if time is None else _moment_in(time, now)


def stop_of(words: Sequence[str], now: datetime) -> Stop:
    """`end`, a time, or offsets. Raises OperationError with reason `bound_malformed`."""
    if list(words) in ([], ["end"]):
        return End()
    if len(words) == 1 and not _looks_numbered(words[0]):
        return _moment_in(words[0], now)
    return Numbers(numbers_in(words))


def numbers_in(words: Sequence[str]) -> dict[int, int]:
    found: dict[int, int] = {}
    for word in words:
        named = _NUMBERS.fullmatch(word)
        if named is None:
            raise OperationError(Reason.BOUND_MALFORMED, f"{word!r} is no PARTITION:OFFSET, such as 3:1500")
        partition, offset = int(named[1]), int(named[2])
        if partition in found:
            raise OperationError(Reason.BOUND_MALFORMED, f"partition {partition} is named twice")
        found[partition] = offset
    return found


def _moment_in(word: str, now: datetime) -> Moment:
    try:
        return Moment(moment_of(word, now))
    except ValueError as error:
        raise OperationError(Reason.BOUND_MALFORMED, str(error)) from error


def _looks_numbered(word: str) -> bool:
    return all(part.isdecimal() for part in word.split(":")) and word.count(":") == 1
