"""
The JSON Schema (2020-12) of every event type: `python -m ops.contracts.json_schema` writes `json/<type>/v<version>.json`.

Only the current version of a type is written. The file of a superseded one is what the world was once told, and stays.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

import schemas
from schemas.description import with_patterns_for_all
from schemas.registry import EVENT_TYPES, EventType

FOLDER: Final = Path(schemas.__file__).parent / "json"

# A word of its own would be unknown to a strict validator, `x-` or not.
_ON: Final = "Published on the Kafka topic "
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def document(kind: EventType) -> dict[str, Any]:
    """The schema of the type's current version, self-contained, under the URN that events name in `ce_dataschema`."""
    (root,), components = msgspec.json.schema_components([kind.record], ref_template="#/$defs/{name}")
    components = _without_null_defaults(with_patterns_for_all(components))
    schema = components.pop(root["$ref"].rpartition("/")[2])
    schema["required"] = sorted(schema.get("required", ()))
    return {
        **schema,
        "$schema": _DIALECT,
        "$id": kind.dataschema,
        "title": kind.name,
        "$comment": f"{_ON}{kind.topic}",
        **({"$defs": components} if components else {}),
    }


def topic_of(schema: dict[str, Any]) -> str | None:
    """Where events of a published schema go; the first schemas named it under `topic`."""
    return schema.get("topic") or schema.get("$comment", "").removeprefix(_ON) or None


def _without_null_defaults(schema: Any) -> Any:
    """A reader takes the absence of such a field for null anyway; code generators stumble over a default that is null."""
    if isinstance(schema, list):
        return [_without_null_defaults(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {word: _without_null_defaults(value) for word, value in schema.items() if word != "default" or value is not None}


def text_of(kind: EventType) -> bytes:
    """The file of the type's current version, byte for byte."""
    ordered = msgspec.json.encode(document(kind), order="sorted")
    return msgspec.json.format(ordered, indent=2) + b"\n"


def path_of(name: str, version: int) -> str:
    """Where the schema of a version is, below the folder."""
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
    sys.stdout.write("".join(f"wrote {path}\n" for path in changed) or "every schema is as it should be\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
