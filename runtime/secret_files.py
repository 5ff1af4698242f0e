"""
Settings that come from files: `NAME_FILE` names the file of one, and `SECRETS_DIR` a folder with a file for each name.

Docker and Kubernetes provide secrets this way: a file's text may end in a line break, and its path may be a link.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from runtime.redaction import is_secret_name

FOLDER: Final = "SECRETS_DIR"
SUFFIX: Final = "_FILE"
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_LARGEST: Final = 65_536  # bytes


class Found(NamedTuple):
    """The texts of the files by the name of their setting, and the faults of others; no fault quotes a text."""

    texts: dict[str, str]
    faults: dict[str, str]


class Environ(dict[str, str]):
    """The settings that are `given`, with those from files among them, as the files are now."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.given = dict(given)
        self.files = read(self.given)
        super().__init__({**self.given, **self.files.texts})

    @property
    def has_files(self) -> bool:
        """Return whether any setting may come from a file."""
        return bool(self.given.get(FOLDER)) or any(_named(self.given))


def read(given: Mapping[str, str]) -> Found:
    """Read every file that the settings name. It never raises."""
    found = Found({}, {})
    places = list(_named(given))
    try:
        places += _listed(given.get(FOLDER, ""))
    except ValueError as error:
        found.faults[FOLDER] = f"{given[FOLDER]} {error}"
    except OSError as error:
        found.faults[FOLDER] = f"{given[FOLDER]} cannot be read: {error.strerror}"
    for name, path in places:
        if given.get(name):
            found.faults[name] = f"is set, and the file {path} holds it too: one of them has to go"
        elif name in found.texts or name in found.faults:
            found.faults[name] = f"has two files, of {name}{SUFFIX} and of {FOLDER}: one of them has to go"
        else:
            try:
                found.texts[name] = _text_of(path)
            except ValueError as error:
                found.faults[name] = f"its file {path} {error}"
            except OSError as error:
                found.faults[name] = f"its file {path} cannot be read: {error.strerror}"
    for name in found.faults:
        found.texts.pop(name, None)
    return found


def setting_of(name: str) -> str | None:
    """The secret setting whose file the variable names; None for any other variable."""
    setting = name.removesuffix(SUFFIX)
    return setting if setting != name and _can_be_in_file(setting) else None


def _named(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((setting, path) for name, path in given.items() if path and (setting := setting_of(name)))


def _listed(folder: str) -> Iterator[tuple[str, str]]:
    """The secrets in the folder; names that begin with a dot are Kubernetes' own. Raises ValueError for an empty one."""
    paths = sorted(Path(folder).iterdir()) if folder else ()
    if folder and not paths:  # as is the place of a volume that is not mounted
        raise ValueError("is empty")
    return ((path.name, str(path)) for path in paths if _can_be_in_file(path.name))


def _can_be_in_file(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and is_secret_name(name)


def _text_of(path: str) -> str:
    """Return the text without the line break at its end. Raises OSError, or ValueError with the fault of the file."""
    # The file is opened each time: a network file system may answer `stat` from its cache, but `open` from the server.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        raw = os.read(descriptor, _LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(raw) > _LARGEST:
        raise ValueError(f"is larger than {_LARGEST:,} bytes")
    try:
        text = raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    if not text.strip():
        raise ValueError("is empty")
    if "\n" in text or "\0" in text:
        raise ValueError("has more than one line, or a NUL character")
    return text
