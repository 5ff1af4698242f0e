"""Rules between the fields of a record, as JSON Schema; a record states them in its class variable `rules`."""

from collections.abc import Iterable
from typing import Any, Final

Json = dict[str, Any]

OPEN: Final[Json] = {"$comment": "This list is open: within a version of the schema, values may be added."}
"""Marks a list of values as open, by a keyword that strict validators know."""


def by_case(field: str, cases: Iterable[tuple[Json, Json]]) -> Json:
    """
    The rule that binds other fields to the value of one: each pair is a schema of that field and the properties that then hold.

    Code generators ignore `if`, `then` and `else`, while they make models of the parts of `allOf`, `anyOf` and `not`.
    """
    rules: Json = {}
    for case, others in reversed(list(cases)):
        rules = {
            "if": {"type": "object", "properties": {field: case}, "required": [field]},
            "then": {"type": "object", "properties": others},
            **({"else": rules} if rules else {}),
        }
    return rules


def never(*cases: Json, otherwise: Json | None = None) -> Json:
    """The rule that excludes the cases, by `if`, `then` and `else` for the same reason."""
    rules = otherwise or {}
    for case in reversed(cases):
        rules = {"if": case, "then": False, **({"else": rules} if rules else {})}
    return rules
