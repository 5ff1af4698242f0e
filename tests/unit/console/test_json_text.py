"""Bodies as the console shows them: with line breaks and indentation, and otherwise unchanged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.pages import pretty

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"18446744073709551616", "18446744073709551616"),
        (b'{"a":1.10,"a":[1E2,{},[]]}', '{\n  "a": 1.10,\n  "a": [\n    1E2,\n    {},\n    []\n  ]\n}'),
        (rb'"\u00e9\/ \"{[,:]}"', r'"\u00e9\/ \"{[,:]}"'),
        (b"{ not JSON", "{ not JSON"),
        (b"\xff\xfe", "2 bytes that are not text"),
        (b"", ""),
    ],
)
def test_a_body_is_shown_as_received(body: bytes, shown: str) -> None:
    assert pretty(body) == shown


@given(JSON)
def test_it_stays_the_same_json(value: object) -> None:
    assert json.loads(pretty(json.dumps(value).encode())) == value


def test_a_deep_one_is_not_made_mostly_of_blanks() -> None:
    body = b"[" * 900 + b"1," * 5000 + b"1" + b"]" * 900
    assert len(pretty(body)) < 100 * len(body)
