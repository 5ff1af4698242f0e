"""Descriptions of fields come from the source, next to the field."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from ops.contracts.records import attributes_of, describe


class Base(msgspec.Struct, rename="camel"):
    """A record."""

    first_name: str  #: The name that an é may be part of.
    bare: int = 0


class Derived(Base):
    """A record with more fields."""

    size: Annotated[int, msgspec.Meta(description="In bytes.")] | None = None
    long: str = "#: no description"
    """A longer description, below its field."""
    bare: int = 1  #: Described in the subclass.  # a comment behind it is not part of it
    folded: tuple[
        str,
        int,
    ] = ("", 0)  #: Of several lines.


class Word(StrEnum):
    ONE = "one"  #: The first.
    TWO = "two"


def test_a_field_is_described_by_the_comment_on_its_line_or_by_the_docstring_below_it() -> None:
    assert attributes_of(Base) == {"first_name": "The name that an é may be part of."}
    assert attributes_of(Derived) == {
        "first_name": "The name that an é may be part of.",
        "long": "A longer description, below its field.",
        "bare": "Described in the subclass.",
        "folded": "Of several lines.",
    }


def test_members_of_an_enumeration_are_described_in_the_same_way() -> None:
    assert attributes_of(Word) == {"ONE": "The first."}


def test_descriptions_are_published_with_the_properties() -> None:
    properties = describe([Derived], "#/$defs/{name}").schemas["Derived"]["properties"]
    assert {name: schema.get("description") for name, schema in properties.items()} == {
        "firstName": "The name that an é may be part of.",
        "bare": "Described in the subclass.",
        "size": "In bytes.",
        "long": "A longer description, below its field.",
        "folded": "Of several lines.",
    }
