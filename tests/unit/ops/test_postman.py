"""The Postman collection: it calls every route, and holds no secret."""

from __future__ import annotations

from ops.contracts import postman
from ops.contracts.flows import FOLDERS
from ops.contracts.records import text_of
from ops.processes.routes import INTERNAL, WEBHOOKS


def test_its_files_are_as_the_code_has_them() -> None:
    assert postman.COLLECTION.read_bytes() == text_of(postman.collection()), "run `python -m ops.contracts.postman`"
    assert postman.ENVIRONMENT.read_bytes() == text_of(postman.environment())


def test_every_route_is_called() -> None:
    called = {step.route for steps in FOLDERS.values() for step in steps}
    assert {route.name for route in (*WEBHOOKS, *INTERNAL)} - called == set()


def test_the_template_of_its_environment_holds_no_secret() -> None:
    assert [value for value in postman.environment()["values"] if value["type"] == "secret" and value["value"]] == []
