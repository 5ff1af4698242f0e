"""The bounds of a replay, as they are given on the command line."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from operations.errors import OperationError, Reason
from runtime.moments import moment_of

_NUMBERS: Final = re.compile("([0-9]{1,9}):([0-9]{1,18})")  # the range of Kafka's numbers


class Beginning(NamedTuple):
    """The first record of the log."""


class End(NamedTuple):
    """The end of the log at the time when the replay begins."""


class Moment(NamedTuple):
    """The first record of that time or later."""

    at: datetime


class Numbers(NamedTuple):
    """These offsets, by partition; the other partitions are left out."""

    offsets: Mapping[int, int]


Start = Beginning | Moment | Numbers
Stop = End | Moment | Numbers


def start_of(offsets: Sequence[str], time: str | None, *, beginning: bool, now: datetime) -> Start:
    """Return the start, which must be given in exactly one of the three ways. Raises OperationError `bound_malformed`."""
    if [bool(offsets), time is not None, beginning].count(True) != 1:
        raise OperationError(Reason.BOUND_MALFORMED, "give exactly one of --from-offset P:N, --from-time T and --from-start")
    if offsets:
        return Numbers(numbers_in(offsets))
    return Beginning() if time is None else _moment_in(time, now)


def stop_of(words: Sequence[str], now: datetime) -> Stop:
    """Return the stop: `end`, a time, or offsets. Raises OperationError `bound_malformed`."""
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
            raise OperationError(Reason.BOUND_MALFORMED, f"{word!r} is not of the form PARTITION:OFFSET, such as 3:1500")
        partition, offset = int(named[1]), int(named[2])
        if partition in found:
            raise OperationError(Reason.BOUND_MALFORMED, f"partition {partition} is given twice")
        found[partition] = offset
    return found


def _moment_in(word: str, now: datetime) -> Moment:
    try:
        return Moment(moment_of(word, now))
    except ValueError as error:
        raise OperationError(Reason.BOUND_MALFORMED, str(error)) from error


def _looks_numbered(word: str) -> bool:
    return all(part.isdecimal() for part in word.split(":")) and word.count(":") == 1
