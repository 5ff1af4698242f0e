"""
Checks that only optional fields were added to the schemas: `python -m ops.contracts.compatibility` prints one line per problem.

A list that is marked as open (`schemas/rules.py`) may get more values. Any other change needs a new version with an upcaster. The
check compares the code with what git has committed: HEAD, the commit before it, origin/main and the newest release, as far as the
clone has them. `RELEASES` names the commit of a release, since a clone may lack its tag (docs/releasing.md).
"""

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ops.contracts.json_schema import FOLDER, path_of, text_of, topic_of
from schemas.registry import EVENT_TYPES, EventType
from schemas.rules import OPEN, Json

_REVISIONS: Final = ("HEAD", "HEAD~1", "origin/main")
_NOTES: Final = frozenset({"$schema", "$id", "$defs", "title", "description", "$comment", "topic", "examples"})
"""Keywords that describe data and do not restrict it."""


class Reference(NamedTuple):
    """A state that the schemas are compared with: `read` returns a file of it by its path below the folder, or None."""

    name: str
    read: Callable[[str], bytes | None]


def breaks(old: Json, new: Json) -> list[str]:
    """The changes other than an added optional field, one a line; empty if there are none."""
    problems = list(_changes(_inlined(old, old), _inlined(new, new), ""))
    if topic_of(old) != topic_of(new):
        problems.append(f"moved from topic {topic_of(old)} to {topic_of(new)}: readers of the old topic get nothing")
    return problems


def _changes(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for word in sorted(old.keys() | new.keys()):
            if word in OPEN or (word == "enum" and _is_open(new) and {*old.get(word, ())} <= {*new.get(word, ())}):
                continue
            if word == "properties" and word in old:
                yield from _field_changes(old[word], new.get(word, {}), path)
            else:
                yield from _changes(old.get(word), new.get(word), f"{path}.{word}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, pair in enumerate(zip(old, new, strict=True)):
            yield from _changes(*pair, f"{path}.{place}")
    elif old != new:
        yield f"`{path.removeprefix('.')}` changed from {_written(old)} to {_written(new)}"


def _is_open(schema: Json) -> bool:
    return schema.items() >= OPEN.items()


def _field_changes(old: Json, new: Json, path: str) -> Iterator[str]:
    """A field that only the new record has is optional: a required one changes `required` too, which is reported there."""
    for name, schema in old.items():
        yield from _changes(schema, new.get(name), f"{path}.{name}")


def _inlined(schema: Any, root: Json, above: tuple[str, ...] = ()) -> Any:
    """The schema without notes, and with definitions in place of references; a circular one becomes the number of levels up."""
    if isinstance(schema, list):
        return [_inlined(each, root, above) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return {"$ref": above[::-1].index(name)} if name in above else _inlined(root["$defs"][name], root, (*above, name))
    return {
        word: {name: _inlined(each, root, above) for name, each in value.items()}
        if word == "properties"
        else _inlined(value, root, above)
        for word, value in schema.items()
        if not _is_note(word, value) and (word, value) != ("default", None)
    }


def _is_note(word: str, value: Any) -> bool:
    return (word in _NOTES or word.startswith("x-")) and OPEN.get(word) != value


def _written(value: Any) -> str:
    return "nothing" if value is None else msgspec.json.encode(value).decode()


def problems_of(folder: Path, kinds: Iterable[EventType], references: Sequence[Reference]) -> list[str]:
    """The faults of the files in the folder, one line each."""
    known = {path_of(kind.name, version): (kind, version) for kind in kinds for version in range(1, kind.version + 1)}
    problems: list[str] = []
    for path, (kind, version) in known.items():
        file = folder / path
        if not file.exists():
            problems.append(f"{path}: is missing; {_remedy(kind, version)}")
        elif version == kind.version and file.read_bytes() != text_of(kind):
            problems.append(f"{path}: differs from the code; {_remedy(kind, version)}")
        committed = {text: reference for reference in reversed(references) if (text := reference.read(path)) is not None}
        for text, reference in committed.items():  # each content once, under the newest reference that has it
            problems += [f"{path}: {problem}" for problem in _compared(file, text, reference, kind, version)]
    strays = {str(file.relative_to(folder).as_posix()) for file in folder.glob("*/*.json")} - known.keys()
    problems += [f"{path}: no such type and version is registered, so its events could not be read" for path in sorted(strays)]
    return problems


def _compared(file: Path, committed: bytes, reference: Reference, kind: EventType, version: int) -> list[str]:
    if version < kind.version:
        unchanged = file.exists() and file.read_bytes() == committed
        return [] if unchanged else [f"is superseded and must stay as it is at {reference.name}"]
    found = breaks(msgspec.json.decode(committed), msgspec.json.decode(text_of(kind)))
    return [f"{problem} (compared with {reference.name}; add a version with an upcaster)" for problem in found]


def _remedy(kind: EventType, version: int) -> str:
    return "run `python -m ops.contracts.json_schema`" if version == kind.version else "restore it from git"


def references_of(folder: Path) -> list[Reference]:
    """The states that git has committed, newest first; empty outside of a checkout."""
    revisions = [*_REVISIONS, *_newest_release(_git(folder, "show", "HEAD:RELEASES") or b"")]
    return [
        _reference(folder, revision) for revision in revisions if _git(folder, "rev-parse", "--verify", f"{revision}^{{tree}}")
    ]


def _newest_release(listed: bytes) -> list[str]:
    """Find the commit of the first line of `RELEASES` that is a release; a list of one commit, or of none."""
    lines = (line.split() for line in listed.decode().splitlines() if line.startswith("v"))
    return [line[1] for line in lines][:1]


def _reference(folder: Path, revision: str) -> Reference:
    return Reference(revision, lambda path: _git(folder, "show", f"{revision}:./{path}"))


def _git(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, check=False)  # noqa: S607  # constants; git is where the PATH says
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def main() -> int:
    references = references_of(FOLDER)
    problems = problems_of(FOLDER, EVENT_TYPES.values(), references)
    if problems:
        sys.stdout.write("".join(f"{problem}\n" for problem in problems))
        return 1
    names = ", ".join(reference.name for reference in references) or "nothing: there is no git history here"
    sys.stdout.write(f"{len(EVENT_TYPES)} schemas compared with {names}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
