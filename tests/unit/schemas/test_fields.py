"""Records from texts: each refusal states the values that its field accepts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from schemas.fields import FieldMalformed, record_of


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (int, "is a whole number"),
        (Annotated[int, Meta(ge=0)], "is a whole number, at least 0"),
        (Annotated[int, Meta(gt=0)], "is a whole number, more than 0"),
        (Annotated[int, Meta(le=9)], "is a whole number, at most 9"),
        (Annotated[int, Meta(ge=1, le=500)], "is a whole number from 1 to 500"),
        (Annotated[int, Meta(gt=1, lt=2000000)], "is a whole number, more than 1 and less than 2000000"),
        (float, "is a number"),
        (Annotated[float, Meta(ge=0.5)], "is at least 0.5"),
        (Annotated[float, Meta(gt=0, le=1000)], "is more than 0 and at most 1000"),
    ],
)
def test_a_number_is_refused_with_the_bounds_that_it_has(kind: Any, expected: str) -> None:
    record = msgspec.defstruct("Asked", [("of", kind)])
    with pytest.raises(FieldMalformed) as refusal:
        record_of(record, [("of", "abc")], datetime.fromisoformat)
    assert str(refusal.value) == f"of {expected}"
