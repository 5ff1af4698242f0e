"""Addresses as they may be shown: where they lead, and never who is let in there."""

import re
from typing import Final
from urllib.parse import urlsplit

WITHHELD: Final = "(an address that cannot be shown)"
_HOST: Final = r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?"
_HOSTS: Final = re.compile(rf"{_HOST}(?:,{_HOST})*", re.ASCII)
_NAMES_IN_PATH: Final = frozenset({"postgres", "postgresql", "redis", "rediss", "valkey", "unix"})
_PATH: Final = re.compile(r"[\w./-]*", re.ASCII)


def shown(url: str) -> str:
    """
    `scheme://host:port`, for a database with its name; without user, password, query and fragment.

    An address that does not read cleanly is not shown at all: an unquoted `/`, `#` or `@` in a password makes a part of it look
    like a host or a path.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return WITHHELD
    hosts = parts.netloc.rpartition("@")[2]
    rest = f"{parts.path}{parts.query}{parts.fragment}"
    if not parts.scheme or not _HOSTS.fullmatch(hosts) or "@" in rest or url != url.strip():
        return WITHHELD
    path = parts.path if parts.scheme in _NAMES_IN_PATH and _PATH.fullmatch(parts.path) else ""
    return f"{parts.scheme}://{hosts}{path}"
