"""
The mark of `./dev env`: the list of the variables that it has set in a shell, and their stack. They are not the user's own.

The mark is one more variable. `./dev` ignores the marked variables; `tallyhook` uses them as long as they are current.
"""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ops.stack.errors import Reason, StackError
from ops.stack.state import StateFile
from runtime import env_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping

NAME: Final = "TALLYHOOK_DEV_ENV"
_AGAIN: Final = 'eval "$(./dev env)"'


class Mark(msgspec.Struct, frozen=True):
    """The variables that were set: each name with the first 8 hex digits of the SHA-256 of its value."""

    checkout: str
    data_dir: str
    digests: dict[str, str]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Mark | None:
        """The mark in this environment; None if there is none or it cannot be read."""
        try:
            return msgspec.json.decode(environ.get(NAME, ""), type=cls)
        except msgspec.DecodeError:
            return None

    @classmethod
    def made(cls, checkout: Path, data_dir: Path, values: Mapping[str, str]) -> Mark:
        return cls(str(checkout), str(data_dir), {name: _digest(value) for name, value in values.items()})

    @property
    def text(self) -> str:
        return msgspec.json.encode(self).decode()

    def untouched(self, environ: Mapping[str, str]) -> Iterable[str]:
        """The names that still have the value that was set; any other value is the user's own."""
        return [name for name, digest in self.digests.items() if name in environ and _digest(environ[name]) == digest]

    def fault(self, directory: Path) -> str | None:
        """The reason why the variables are of no use to a command in this directory; None if they are current."""
        checkout = Path(self.checkout)
        if directory != checkout and any((directory / name).exists() for name in (".env", "dev")):
            return f"this shell has the settings of another checkout, {self.checkout}"
        state = StateFile(Path(self.data_dir)).read()
        if not state.running:
            return f"this shell has the settings of a stack that no longer runs, of {self.checkout}"
        known = env_file.read(checkout / ".env").values | state.environment
        if any(name in known and _digest(known[name]) != digest for name, digest in self.digests.items()):
            return f"this shell has settings of {self.checkout} that have changed since"
        return None


def leave(environ: MutableMapping[str, str], directory: Path) -> tuple[Mark | None, str | None]:
    """Remove from the environment what `./dev env` has set; return its mark, and the reason if it is of no use here."""
    mark = Mark.of(environ)
    environ.pop(NAME, None)
    if mark is None:
        return None, None
    for name in mark.untouched(environ):
        del environ[name]
    return mark, mark.fault(directory)


def check(environ: Mapping[str, str], directory: Path) -> None:
    """Raise StackError `shell_stale` if variables of `./dev env` are of a stack that is gone, or of another checkout."""
    mark = Mark.of(environ)
    if mark and (fault := mark.fault(directory)):
        where = shlex.quote(mark.checkout)
        raise StackError(
            Reason.SHELL_STALE, f"{fault}: run {_AGAIN} in the checkout that you mean (after ./dev up --detach), or cd {where}"
        )


def note(fault: str) -> str:
    """Return the note that `./dev` prints when it ignores variables of an earlier `./dev env`."""
    return f"{fault}; they are ignored here. For tallyhook, psql and curl run {_AGAIN} again"


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:8]
