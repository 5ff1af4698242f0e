"""The `.env` of a checkout: the secrets that are missing are added, so that a first `up` needs no preparation."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from runtime.seals import new_key
from runtime.settings import environment
from schemas.providers import providers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _made(prefix: str = "") -> str:
    return prefix + secrets.token_urlsafe(32)


NEEDED: Final[dict[str, Callable[[], str]]] = {
    **{provider.secret_setting: partial(_made, provider.secret.prefix) for provider in providers()},
    "INTERNAL_API_TOKEN": _made,
    "ADMIN_API_TOKEN": _made,
    "SECRET_KEYS": new_key,
}


def ensure_secrets(checkout: Path) -> list[str]:
    """
    Append a fresh random value to `.env` for each needed secret that is set neither there nor in the environment.

    Only the owner can read the file from then on, also if another program made it.
    """
    known = environment(checkout)
    missing = [name for name in NEEDED if not known.get(name)]
    if missing:
        _append(checkout / ".env", "".join(f"{name}={NEEDED[name]()}\n" for name in missing))
    with suppress(FileNotFoundError, PermissionError):  # of another account: `tallyhook doctor` warns of it
        (checkout / ".env").chmod(0o600)
    return missing


def _append(path: Path, lines: str) -> None:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(file, "a+") as text:
        os.fchmod(file, 0o600)
        text.seek(0)
        unfinished = text.read().rpartition("\n")[2]
        text.write(("\n" if unfinished else "") + lines)
