"""
The logins of servers as they are now: a file that holds one may have changed since parts of this process were given it.

Those parts keep what they were given, an address or a password, and ask here at each new connection. What was there before counts
too, where the server does not take the new one yet: whichever is changed first, the file or the server, nothing is refused.
"""

from typing import Final

_newest: Final[dict[str, tuple[str, ...]]] = {}
"""By each that was ever given: the one of now, and the one before it."""


def renew(old: str, new: str) -> None:
    """Let the users of the old login, and of those that it replaced, use the new one from now on."""
    raw = {old, new}
    old, new = old.strip(), new.strip()  # as most settings are read
    given = raw | {old, new, *(text for text, now in _newest.items() if now[0] == old)}
    _newest.update(dict.fromkeys(given, (new, old)))


def newest(login: str) -> str:
    """The login as it is now."""
    return logins(login)[0]


def logins(login: str) -> tuple[str, ...]:
    """The login as it is now, and the one before it where there was one."""
    return _newest.get(login, (login,))
