"""Within a version of a schema only optional fields may be added; the check names every other change."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest

from ops.contracts.compatibility import Reference, breaks, problems_of, references_of
from ops.contracts.json_schema import FOLDER, document, export, path_of, topic_of
from schemas.registry import EVENT_TYPES, EventType
from schemas.rules import OPEN
from schemas.topics import Topic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Address(msgspec.Struct):
    city: str
    zip_code: str | None = None


class AddressWithoutZip(msgspec.Struct):
    city: str


class Empty(msgspec.Struct):
    pass


class Node(msgspec.Struct):
    child: Node | None = None


class NodeWithSize(msgspec.Struct):
    child: NodeWithSize | None = None
    size: int = 0


def kind_of(record: type[msgspec.Struct], upcasts: int = 0) -> EventType:
    return EventType("made.up", Topic.ALERTS, record, "thing", upcasts=tuple([lambda fields: fields] * upcasts))


def schema(**fields: Any) -> dict[str, Any]:
    """The schema of a record with these fields: a type, or a pair of type and default."""
    declared = [(name, *(field if isinstance(field, tuple) else (field,))) for name, field in fields.items()]
    return document(kind_of(msgspec.defstruct("MadeUp", declared, kw_only=True)))


STATE = Literal["open", "paid"]
STATES = Literal["open", "paid", "void"]
ANY_STATE = Annotated[STATE, msgspec.Meta(extra_json_schema=OPEN)]
ANY_STATES = Annotated[STATES, msgspec.Meta(extra_json_schema=OPEN)]

OPTIONAL_TEXT = '{"anyOf":[{"type":"string"},{"type":"null"}]}'
CHANGES = [
    ("nothing", schema(a=int), schema(a=int), []),
    ("an optional field more", schema(a=int), schema(a=int, b=(str | None, None)), []),
    ("a list of values that becomes open", schema(a=STATE), schema(a=ANY_STATE), []),
    ("a value more in an open list", schema(a=ANY_STATE), schema(a=ANY_STATES), []),
    (
        "a value less in an open list",
        schema(a=ANY_STATES),
        schema(a=ANY_STATE),
        ['`a.enum` changed from ["open","paid","void"] to ["open","paid"]'],
    ),
    ("a required field more", schema(a=int), schema(a=int, b=str), ['`required` changed from ["a"] to ["a","b"]']),
    (
        "a required field gone",
        schema(a=int, b=str),
        schema(a=int),
        ['`b` changed from {"type":"string"} to nothing', '`required` changed from ["a","b"] to ["a"]'],
    ),
    (
        "an optional field gone",
        schema(a=int, b=(str | None, None)),
        schema(a=int),
        [f"`b` changed from {OPTIONAL_TEXT} to nothing"],
    ),
    (
        "an optional field renamed",
        schema(b=(int, 0)),
        schema(c=(int, 0)),
        ['`b` changed from {"type":"integer","default":0} to nothing'],
    ),
    (
        "an optional field made required",
        schema(a=(int | None, None)),
        schema(a=int | None),
        ['`required` changed from [] to ["a"]'],
    ),
    (
        "a required field made optional",
        schema(a=int | None),
        schema(a=(int | None, None)),
        ['`required` changed from ["a"] to []'],
    ),
    ("another type", schema(a=int), schema(a=str), ['`a.type` changed from "integer" to "string"']),
    ("a wider number", schema(a=int), schema(a=float), ['`a.type` changed from "integer" to "number"']),
    (
        "null no longer allowed",
        schema(a=int | None),
        schema(a=int),
        [
            '`a.anyOf` changed from [{"type":"integer"},{"type":"null"}] to nothing',
            '`a.type` changed from nothing to "integer"',
        ],
    ),
    (
        "null allowed",
        schema(a=int),
        schema(a=int | None),
        [
            '`a.anyOf` changed from nothing to [{"type":"integer"},{"type":"null"}]',
            '`a.type` changed from "integer" to nothing',
        ],
    ),
    ("a word less", schema(a=STATES), schema(a=STATE), ['`a.enum` changed from ["open","paid","void"] to ["open","paid"]']),
    ("a word more", schema(a=STATE), schema(a=STATES), ['`a.enum` changed from ["open","paid"] to ["open","paid","void"]']),
    (
        "any word",
        schema(a=STATE),
        schema(a=str),
        ['`a.enum` changed from ["open","paid"] to nothing', '`a.type` changed from nothing to "string"'],
    ),
    ("another default", schema(a=(int, 0)), schema(a=(int, 1)), ["`a.default` changed from 0 to 1"]),
    ("another format", schema(a=str), schema(a=UUID), ['`a.format` changed from nothing to "uuid"']),
    (
        "another bound",
        schema(a=Annotated[int, msgspec.Meta(ge=0)]),
        schema(a=Annotated[int, msgspec.Meta(ge=1)]),
        ["`a.minimum` changed from 0 to 1"],
    ),
    (
        "another element in a list",
        schema(a=list[tuple[str, int]]),
        schema(a=list[tuple[str, str]]),
        ['`a.items.prefixItems.1.type` changed from "integer" to "string"'],
    ),
    (
        "another value in a mapping",
        schema(a=dict[str, Any]),
        schema(a=dict[str, int]),
        ['`a.additionalProperties` changed from nothing to {"type":"integer"}'],
    ),
    (
        "a record where a mapping was",
        schema(a=dict[str, int]),
        schema(a=AddressWithoutZip),
        [
            '`a.additionalProperties` changed from {"type":"integer"} to nothing',
            '`a.properties` changed from nothing to {"city":{"type":"string"}}',
            '`a.required` changed from nothing to ["city"]',
        ],
    ),
    (
        "a record of optional fields where a mapping of anything was",
        schema(a=dict[str, Any]),
        schema(a=Empty),
        ["`a.properties` changed from nothing to {}", "`a.required` changed from nothing to []"],
    ),
    ("an optional field more, further down", schema(a=AddressWithoutZip), schema(a=Address), []),
    (
        "an optional field gone, further down",
        schema(a=Address),
        schema(a=AddressWithoutZip),
        [f"`a.zip_code` changed from {OPTIONAL_TEXT} to nothing"],
    ),
    (
        "a record under another name",
        schema(a=AddressWithoutZip),
        schema(a=msgspec.defstruct("Place", [("city", str)])),
        [],
    ),
    ("an optional field more, in a record within itself", schema(a=Node), schema(a=NodeWithSize), []),
    (
        "an optional field gone, in a record within itself",
        schema(a=NodeWithSize),
        schema(a=Node),
        ['`a.size` changed from {"type":"integer","default":0} to nothing'],
    ),
    (
        "an element that may come any number of times, where one was",
        schema(a=tuple[str, int]),
        schema(a=list[str]),
        [
            '`a.items` changed from false to {"type":"string"}',
            "`a.maxItems` changed from 2 to nothing",
            "`a.minItems` changed from 2 to nothing",
            '`a.prefixItems` changed from [{"type":"string"},{"type":"integer"}] to nothing',
        ],
    ),
]


@pytest.mark.parametrize(("old", "new", "problems"), [change[1:] for change in CHANGES], ids=[change[0] for change in CHANGES])
def test_only_an_optional_field_may_be_added(old: dict[str, Any], new: dict[str, Any], problems: list[str]) -> None:
    assert breaks(old, new) == problems


def test_another_topic_is_a_break() -> None:
    moved = document(kind_of(Address)._replace(topic=Topic.CONFIG))
    assert breaks(document(kind_of(Address)), moved) == [
        "moved from topic alert.events to config.events: readers of the old topic get nothing"
    ]


def test_a_topic_is_known_under_the_word_of_the_first_schemas_too() -> None:
    now = document(kind_of(Address))
    first = {**now, "topic": "alert.events"}
    del first["$comment"]
    assert breaks(first, now) == breaks(now, first) == []
    assert breaks({**first, "topic": "config.events"}, now) == [
        "moved from topic config.events to alert.events: readers of the old topic get nothing"
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Callable[[EventType], list[str]]:
    """A repository with a committed schema of `Address`; yields a function that reports the faults of another type."""
    _git(tmp_path, "init", "-q")
    export(tmp_path, [kind_of(Address)])
    _git(tmp_path, "add", ".")
    _commit(tmp_path, "Export")
    return lambda kind: problems_of(tmp_path, [kind], references_of(tmp_path))


def _commit(folder: Path, message: str) -> None:
    _git(folder, "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-q", "-m", message)


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", folder, *arguments], check=True)  # noqa: S607  # git is where the PATH says


def test_a_committed_and_unchanged_schema_is_in_order(checkout: Callable[[EventType], list[str]]) -> None:
    assert checkout(kind_of(Address)) == []


def test_an_incompatible_change_is_found_whether_it_was_exported_or_not(
    checkout: Callable[[EventType], list[str]], tmp_path: Path
) -> None:
    changed = kind_of(AddressWithoutZip)
    path = "made.up/v1.json"
    broken = f"{path}: `zip_code` changed from {OPTIONAL_TEXT} to nothing (compared with HEAD; add a version with an upcaster)"
    assert checkout(changed) == [f"{path}: differs from the code; run `python -m ops.contracts.json_schema`", broken]
    export(tmp_path, [changed])
    assert checkout(changed) == [broken]


def test_a_new_version_may_change_anything_and_leaves_the_old_file_alone(
    checkout: Callable[[EventType], list[str]], tmp_path: Path
) -> None:
    second = kind_of(AddressWithoutZip, upcasts=1)
    assert checkout(second) == ["made.up/v2.json: is missing; run `python -m ops.contracts.json_schema`"]
    assert export(tmp_path, [second]) == ["made.up/v2.json"]
    assert checkout(second) == []


def test_the_file_of_a_superseded_version_stays(checkout: Callable[[EventType], list[str]], tmp_path: Path) -> None:
    second = kind_of(AddressWithoutZip, upcasts=1)
    export(tmp_path, [second])
    first = tmp_path / "made.up/v1.json"
    first.write_text("{}")
    assert checkout(second) == ["made.up/v1.json: is superseded and must stay as it is at HEAD"]
    first.unlink()
    assert "made.up/v1.json: is missing; restore it from git" in checkout(second)


def test_a_type_that_is_no_longer_registered_is_found(tmp_path: Path) -> None:
    export(tmp_path, [kind_of(Address)])
    assert problems_of(tmp_path, [], []) == [
        "made.up/v1.json: no such type and version is registered, so its events could not be read"
    ]


def test_the_newest_release_is_found_where_the_clone_has_no_tags(
    checkout: Callable[[EventType], list[str]], tmp_path: Path
) -> None:
    released = subprocess.run(
        ["git", "-C", tmp_path, "rev-parse", "HEAD"],  # noqa: S607  # whichever git the developer has
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    changed = kind_of(AddressWithoutZip)
    for message in ("breaks the schema", "comes later"):
        export(tmp_path, [changed])
        (tmp_path / "RELEASES").write_text(
            f"# newest first\nv0.1.0 {released} 2026-11-27\nv0.0.1 {'0' * 40} 2026-11-01\n{message}\n"
        )
        _git(tmp_path, "add", ".")
        _commit(tmp_path, message)
    [problem] = checkout(changed)
    assert f"compared with {released}" in problem


def test_outside_of_a_checkout_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    assert references_of(tmp_path) == []


def test_a_reference_without_the_file_is_skipped(tmp_path: Path) -> None:
    export(tmp_path, [kind_of(Address)])
    assert problems_of(tmp_path, [kind_of(Address)], [Reference("HEAD", lambda _path: None)]) == []


def test_the_exported_schemas_are_those_of_the_code() -> None:
    assert problems_of(FOLDER, EVENT_TYPES.values(), []) == []


@pytest.mark.parametrize("kind", EVENT_TYPES.values(), ids=EVENT_TYPES)
def test_an_exported_schema_names_its_type_and_topic(kind: EventType) -> None:
    exported = msgspec.json.decode((FOLDER / path_of(kind.name, kind.version)).read_bytes())
    assert exported["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (exported["$id"], exported["title"], topic_of(exported)) == (kind.dataschema, kind.name, kind.topic)
    assert exported["description"]
