"""The published contracts explain themselves: everything in them is described, in plain English."""

from __future__ import annotations

import re
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from gateway.errors import Reason
from ops.contracts import asyncapi, openapi, postman
from ops.contracts.json_schema import document
from ops.contracts.records import attributes_of
from schemas.providers import NAMES
from schemas.registry import EVENT_TYPES
from schemas.topics import Topic, webhooks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENAPI: Final = msgspec.json.decode(openapi.text())
ASYNCAPI: Final = asyncapi.document()
DOCUMENTS: Final[dict[str, Any]] = {
    "openapi": OPENAPI,
    "asyncapi": ASYNCAPI,
    "postman": postman.collection(),
    **{name: document(kind) for name, kind in EVENT_TYPES.items()},
}
OPERATIONS: Final = [operation for item in OPENAPI["paths"].values() for operation in item.values()]
RIDDLE: Final = re.compile(
    r"\b(told|tells?|telling|said|says?|saying|stands?|standing|asides?|whoever|whatever|whichever|nobody|somebody"
    r"|of what|what is|what was|it is so|be believed|speaks? of)\b",
    re.IGNORECASE,
)
HEADLESS: Final = re.compile(r"(What|Where|Who|Whose|Of|That|Which|How|As)\b")


def texts_in(part: Any) -> Iterator[str]:
    """Every summary and description in a document."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name in {"description", "summary"} and isinstance(value, str):
                yield value
            else:
                yield from texts_in(value)
    elif isinstance(part, list):
        for each in part:
            yield from texts_in(each)


def undescribed(schemas: dict[str, Any]) -> list[str]:
    """The records and fields that lack a description."""
    records = [name for name, schema in schemas.items() if not schema.get("description")]
    fields = {f"{name}.{field}": each for name, schema in schemas.items() for field, each in schema.get("properties", {}).items()}
    return records + [name for name, field in fields.items() if not field.get("description")]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_text_is_a_riddle(name: str) -> None:
    texts = list(texts_in(DOCUMENTS[name]))
    assert texts
    assert [text for text in texts if RIDDLE.search(text) or HEADLESS.match(text)] == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation["operationId"])
def test_every_operation_and_its_parameters_are_described(operation: dict[str, Any]) -> None:
    assert operation["summary"].endswith(".")
    assert operation["description"].endswith(".")
    assert [parameter["name"] for parameter in operation["parameters"] if not parameter["description"]] == []
    assert "requestBody" not in operation or operation["requestBody"]["description"]


def test_no_text_describes_answers_of_different_content() -> None:
    contents: dict[str, set[str]] = {}
    for operation in OPERATIONS:
        for status, answer in operation["responses"].items():
            if int(status) < HTTPStatus.BAD_REQUEST:
                text = answer["description"].removeprefix(f"{HTTPStatus(int(status)).phrase}: ")
                assert len(text.split()) > 1, text
                contents.setdefault(text, set()).add(str(answer["content"]))
    assert {text: found for text, found in contents.items() if len(found) > 1} == {}


def test_every_refusal_explains_each_of_its_reasons() -> None:
    meanings = attributes_of(Reason)
    assert set(meanings) == set(Reason.__members__)
    assert [text for text, count in Counter(meanings.values()).items() if count > 1] == []
    for operation in OPERATIONS:
        for response in operation["responses"].values():
            for reason in response.get("x-reasons", ()):
                assert f"- `{reason}`: {meanings[Reason(reason).name]}" in response["description"]


@pytest.mark.parametrize("contract", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_every_record_and_every_field_is_described(contract: dict[str, Any]) -> None:
    assert undescribed(contract["components"]["schemas"]) == []


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_every_field_of_an_event_schema_is_described(name: str) -> None:
    schema = DOCUMENTS[name]
    assert undescribed({name: schema, **schema.get("$defs", {})}) == []


def test_tags_servers_headers_and_proofs_are_described() -> None:
    components = OPENAPI["components"]
    parts = [*OPENAPI["tags"], *OPENAPI["servers"], *components["headers"].values(), *components["securitySchemes"].values()]
    assert [part for part in parts if not part["description"].endswith(".")] == []


def test_channels_their_operations_and_messages_are_described() -> None:
    assert {Topic[name] for name in Topic.__members__ if name not in attributes_of(Topic)} == {*map(webhooks_of, NAMES)}
    messages = ASYNCAPI["components"]["messages"].values()
    assert [part for part in (*ASYNCAPI["operations"].values(), *messages) if not (part["summary"] and part["description"])] == []
    assert [channel for channel in ASYNCAPI["channels"].values() if not channel["description"]] == []
    assert len({message["summary"] for message in messages}) == len(messages)
    headers = [header for message in messages for header in message["headers"]["properties"].values()]
    assert [header for header in headers if not header["description"]] == []
