"""Rules for texts: the same for every input, and the published schema has the same rule."""

from __future__ import annotations

import json
import re
from typing import Any, Final, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.route import records_of
from ops.contracts.records import with_patterns_for_all
from ops.processes.routes import INTERNAL, WEBHOOKS
from schemas import text
from schemas.text import DEPTH_MAX, accepts, cut, is_storable, is_too_deep, storable

KINDS: Final = {
    "Word": "evt_1", "WordOrNone": "evt_1", "Line": "a line", "Filter": "a line", "Id": "pi_1", "Cursor": "AAAA-_",
    "TraceId": "0f" * 16, "ConfigKey": "lead.max_attempts", "Currency": "usd", "PartnerId": "acme", "IdempotencyKey": "a key",
    "DocumentId": "p-1", "Recipient": "user 7", "RecipientFilter": "user 7", "Email": "jo@example.com", "Phone": "+4915112345678",
    "LocaleTag": "de-AT", "PushToken": "token",
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_no_kind_accepts_a_control_character_wherever_it_is(name: str) -> None:
    kind, good = getattr(text, name), KINDS[name]
    assert accepts(kind, good)
    for odd in ("\n", "\0", "\r\n", "\x1b", "\x7f"):
        assert [place for place in range(len(good) + 1) if accepts(kind, good[:place] + odd + good[place:])] == []
    assert not accepts(kind, good + "\ud800")
    assert not accepts(kind, good * 3000)


@pytest.mark.parametrize("letter", ["a", "é", "名", "💩"])
@pytest.mark.parametrize(("kind", "size"), [("DocumentId", 512), ("Recipient", text.RECIPIENT_BYTES)])
def test_a_limit_in_bytes_holds_in_every_script(kind: str, size: int, letter: str) -> None:
    most = size // len(letter.encode())
    assert [accepts(getattr(text, kind), letter * count) for count in (1, most, most + 1)] == [True, True, False]


@given(st.text(), st.integers(0, 40))
def test_a_cut_text_fits_and_is_the_beginning(line: str, length: int) -> None:
    kept = cut(line, length)
    assert line.startswith(kept)
    assert len(kept.encode()) <= length
    assert kept == line or len(line[: len(kept) + 1].encode()) > length


def test_an_explanation_has_lines_and_is_not_blank() -> None:
    assert accepts(text.ReasonText, "two\nlines\n")
    assert [odd for odd in ("", " ", "\n", "a\0", "x" * 501) if accepts(text.ReasonText, odd)] == []


def test_every_text_of_the_module_is_tried_here() -> None:
    kinds = {name for name, value in vars(text).items() if get_args(value)[:1] == (str,)}
    assert kinds == {*KINDS, "ReasonText", "LongReasonText"}


def test_every_pattern_that_a_route_checks_ends_at_the_very_end() -> None:
    kinds = [parameter.type for route in (*INTERNAL, *WEBHOOKS) for parameter in route.headers]
    kinds += [route.query for route in (*INTERNAL, *WEBHOOKS) if route.query]
    kinds += [route.id_type for route in INTERNAL if route.ids]
    bodies = [body for route in (*INTERNAL, *WEBHOOKS) for body in records_of(route.body)]
    written = msgspec.json.encode([msgspec.json.schema(kind) for kind in kinds + bodies]).decode()
    patterns = set(re.findall(r'"pattern":("(?:[^"\\]|\\.)*")', written))
    assert len(patterns) > 10
    assert [pattern for pattern in patterns if not json.loads(pattern).endswith("\\Z")] == []


def test_every_validator_understands_the_published_rules() -> None:
    published = with_patterns_for_all({"a": [{"pattern": r"^[a-z]\Z"}], "pattern": r"^x\Z"})
    assert published == {"a": [{"pattern": "^[a-z]$"}], "pattern": "^x$"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters()),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(st.characters()), parts, max_size=4),
    max_leaves=30,
)


@given(json_values)
def test_a_storable_value_has_no_nul_and_no_half_pair_in_values_and_names(value: Any) -> None:
    written = json.dumps(value, ensure_ascii=False)
    assert is_storable(value) == (r"\u0000" not in written.replace(r"\\", "") and not re.search("[\ud800-\udfff]", written))


@given(st.text(st.characters()))
def test_a_value_becomes_storable_and_a_storable_one_stays(line: str) -> None:
    made = storable(line)
    assert is_storable(made)
    assert made == line or not is_storable(line)


@pytest.mark.parametrize("depth", [1, 5_000, 1_000_000])
def test_however_deep_a_value_is_it_can_be_looked_through(depth: int) -> None:
    value: Any = "\0"
    for _ in range(depth):
        value = [value]
    assert not is_storable(value)
    while isinstance(value, list):  # freeing it must not recurse as deeply either
        value = value.pop()


@given(json_values, st.integers(0, 2 * DEPTH_MAX), st.sampled_from(["[", '{"[{\\"":']))
def test_depth_is_counted_in_objects_and_lists_and_not_in_texts(value: Any, levels: int, opening: str) -> None:
    body = opening * levels + json.dumps(value) + ("]" if opening == "[" else "}") * levels
    assert is_too_deep(body.encode()) == (levels + _depth(value) > DEPTH_MAX)


def _depth(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, parts), default=0) if isinstance(value, dict | list) else 0


def test_many_brackets_beside_each_other_are_not_deep() -> None:
    assert not is_too_deep(b"[" + b"[]," * 1000 + b"{}]")
