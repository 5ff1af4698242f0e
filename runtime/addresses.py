"""Addresses as clients need them, and as they may be shown: without user and password."""

import re
from typing import Final
from urllib.parse import urlsplit

LOOPBACK: Final = "127.0.0.1"
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  recognised, not bound
WITHHELD: Final = "(an address that cannot be shown)"
_HOST: Final = r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?"
_HOSTS: Final = re.compile(rf"{_HOST}(?:,{_HOST})*")
_NAMES_IN_PATH: Final = frozenset({"postgres", "postgresql", "redis", "rediss", "valkey", "unix"})
_PATH: Final = re.compile(r"[\w./-]*", re.ASCII)


def address(listener: tuple[str, int], scheme: str = "http") -> str:
    """The URL under which a client on this machine reaches a listener, given as host and port."""
    host, port = listener
    reachable = LOOPBACK if host in _EVERYWHERE else f"[{host}]" if ":" in host else host
    return f"{scheme}://{reachable}:{port}"


def shown(url: str) -> str:
    """
    `scheme://host:port`, for a database with its name; without user, password, query and fragment.

    An address that cannot be parsed cleanly is withheld: an unquoted `/`, `#` or `@` in a password makes a part of it look like a
    host or a path.
    """
    if not has_target(url):
        return WITHHELD
    parts = urlsplit(url)
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return WITHHELD
    path = parts.path if parts.scheme in _NAMES_IN_PATH and _PATH.fullmatch(parts.path) else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"


def has_target(url: str) -> bool:
    """Report whether the part that is parsed as the host can be one; a piece of an unquoted password rarely can."""
    try:
        parts = urlsplit(url)
        _ = parts.port if "," not in parts.netloc else None
    except ValueError:
        return False
    hosts = parts.netloc.rpartition("@")[2]
    has_hosts = _HOSTS.fullmatch(hosts) or (url.startswith("unix:///") and not hosts)
    return bool(parts.scheme and has_hosts) and url == url.strip()
