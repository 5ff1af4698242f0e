"""
The JSON Schema (2020-12) of every event type: `python -m ops.contracts.json_schema` writes `json/<type>/v<version>.json`.

Only the current version of a type is written. The file of a superseded version was published once and never changes.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

import schemas as records
from ops.contracts.records import described, name_of, rewritten, with_patterns_for_all
from schemas.registry import EVENT_TYPES, EventType
from schemas.rules import Json

FOLDER: Final = Path(records.__file__).parent / "json"

# A strict validator refuses a keyword that it does not know, with or without `x-`.
_ON: Final = "Published on the Kafka topic "
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def document(kind: EventType) -> Json:
    """The schema of the type's current version, self-contained, under the URN that events name in `ce_dataschema`."""
    schemas, references = described([kind.record], "#/$defs/{name}")
    components = rewritten(with_patterns_for_all(schemas), _without_null_default)
    schema = components.pop(name_of(references[kind.record]))
    schema["required"] = sorted(schema.get("required", ()))
    return {
        **schema,
        "$schema": _DIALECT,
        "$id": kind.dataschema,
        "title": kind.name,
        "$comment": f"{_ON}{kind.topic}",
        **({"$defs": components} if components else {}),
    }


def topic_of(schema: Json) -> str | None:
    """The topic of events of a published schema; the first schemas named it under `topic`."""
    return schema.get("topic") or schema.get("$comment", "").removeprefix(_ON) or None


def _without_null_default(schema: Json) -> Json:
    """A reader takes an absent field for null in any case; generators of code fail on a default that is null."""
    return {word: value for word, value in schema.items() if word != "default" or value is not None}


def text_of(kind: EventType) -> bytes:
    """The bytes of the file of the type's current version."""
    ordered = msgspec.json.encode(document(kind), order="sorted")
    return msgspec.json.format(ordered, indent=2) + b"\n"


def path_of(name: str, version: int) -> str:
    """The path of a version's schema below the folder."""
    return f"{name}/v{version}.json"


def export(folder: Path, kinds: Iterable[EventType]) -> list[str]:
    """Write the current version of every type; returns the paths that changed, below the folder."""
    changed: list[str] = []
    for kind in kinds:
        path = path_of(kind.name, kind.version)
        file, text = folder / path, text_of(kind)
        if not file.exists() or file.read_bytes() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text)
            changed.append(path)
    return sorted(changed)


def main() -> int:
    changed = export(FOLDER, EVENT_TYPES.values())
    sys.stdout.write("".join(f"wrote {path}\n" for path in changed) or "every schema is up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
