"""The number of files that the process may open, and the shares of the listeners."""

import resource
from typing import Final, NamedTuple

_WANTED: Final = 65_536
_RESERVE: Final = 192  # for Postgres, Redis, Kafka, and the listeners themselves
_PUBLIC_MAX: Final = 4096  # by itself: each connection takes about 30 KB
_INTERNAL_MAX: Final = 1024


class Shares(NamedTuple):
    """Connections of each listener."""

    public: int
    internal: int


def raise_limit() -> int:
    """Raise the limit of open files as far as the process may; returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft == resource.RLIM_INFINITY or soft >= ceiling:
        return _WANTED if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
    return ceiling


def share(files: int, public: int | None, internal: int | None) -> Shares:
    """The share of each listener: its setting as far as there is room, else a share of the room."""
    room = max(2, files - _RESERVE)
    of_internal = min(_INTERNAL_MAX, room // 4) if internal is None else min(internal, room - 1)
    of_public = min(_PUBLIC_MAX if public is None else public, room - max(1, of_internal))
    return Shares(of_public, max(1, of_internal))
