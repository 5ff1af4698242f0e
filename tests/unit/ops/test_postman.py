"""The Postman collection: it calls every operation, checks every answer, and holds no secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ops.contracts import postman
from ops.contracts.flows import FOLDERS
from ops.contracts.records import text_of
from ops.processes.routes import INTERNAL, WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Iterator

SET_AT_THE_BEGINNING: Final = {
    *("payment", "stripeEvent", "refund", "dispute", "subscription", "invoice", "user", "partner", "endpoint"),
    *("run", "large", "dead-letter", "erasure", "signature", "provider"),
}


def items() -> Iterator[dict[str, Any]]:
    for folder in postman.collection()["item"]:
        yield from folder["item"]


def script_of(item: dict[str, Any]) -> str:
    return "\n".join(line for event in item["event"] if event["listen"] == "test" for line in event["script"]["exec"])


def test_its_files_are_up_to_date() -> None:
    assert postman.COLLECTION.read_bytes() == text_of(postman.collection()), "run `python -m ops.contracts.postman`"
    assert postman.ENVIRONMENT.read_bytes() == text_of(postman.environment())


def test_every_operation_is_called() -> None:
    called = {step.operation for steps in FOLDERS.values() for step in steps}
    assert called == {route.name for route in (*WEBHOOKS, *INTERNAL)}


def test_every_step_expects_a_status_that_its_operation_documents() -> None:
    assert [item["name"] for item in items() if not re.search(r"oneOf\(\[\d+", script_of(item))] == []


def test_every_variable_is_set_before_it_is_used() -> None:
    known = SET_AT_THE_BEGINNING | {value["key"] for value in postman.environment()["values"]}
    for item in items():
        assert set(re.findall(r"\{\{([\w-]+)\}\}", text_of(item["request"]).decode())) <= known, item["name"]
        known |= set(re.findall(r"collectionVariables\.set\('([\w-]+)'", script_of(item)))


def test_the_template_of_its_environment_holds_no_secret() -> None:
    assert [value for value in postman.environment()["values"] if value["type"] == "secret" and value["value"]] == []
