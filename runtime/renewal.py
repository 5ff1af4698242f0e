"""
The current logins of servers: a file that holds one may have changed since the process started.

A client keeps the address or the password that it got at the start, and looks up the current one here at each new connection. The
previous one is kept too, for a server that does not accept the new one yet: either the file or the server may be changed first.
"""

from typing import Final

_newest: Final[dict[str, tuple[str, ...]]] = {}
"""The current login and the one before it, by each login that this process ever had."""


def renew(old: str, new: str) -> None:
    """Let the users of the old login, and of those that it replaced, use the new one from now on."""
    raw = {old, new}
    old, new = old.strip(), new.strip()  # as most settings are read
    given = raw | {old, new, *(text for text, now in _newest.items() if now[0] == old)}
    _newest.update(dict.fromkeys(given, (new, old)))


def newest(login: str) -> str:
    """The current login."""
    return logins(login)[0]


def logins(login: str) -> tuple[str, ...]:
    """The current login, and the one before it if there was one."""
    return _newest.get(login, (login,))
