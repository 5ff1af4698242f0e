"""An odd value in an unneeded field loses no event of a provider; a field that decides about money or state is never skipped."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.foreign_json import NEEDED, UNSTORABLE, Decoder

Amount = Annotated[int, msgspec.Meta(ge=0, extra=NEEDED)]


class Item(msgspec.Struct):
    amount: Amount | None = None
    word: str | None = None


class Inner(msgspec.Struct):
    id: str
    items: list[Item] | None = None
    word: Annotated[str, msgspec.Meta(min_length=1, max_length=5)] | None = None
    amount: Amount | None = None


class Outer(msgspec.Struct):
    id: str
    kind: str = "event"
    inner: Annotated[Inner, msgspec.Meta(extra=NEEDED)] | None = None
    other: Item | None = None


DECODER: Final = Decoder(Outer)
GOOD: Final[dict[str, Any]] = {"id": "a", "inner": {"id": "b", "items": [{"amount": 1, "word": "c"}], "word": "d", "amount": 2}}


def without(value: dict[str, Any], place: str, other: Any) -> dict[str, Any]:
    """Return the value with another content at one place."""
    changed = json.loads(json.dumps(value))
    *path, name = place.split(".")
    holder: Any = changed
    for step in path:
        holder = holder[0][step] if isinstance(holder, list) else holder[step]
    (holder[0] if isinstance(holder, list) else holder)[name] = other
    return dict(changed)


@pytest.mark.parametrize("place", ["kind", "other", "inner.word", "inner.items.word"])
@pytest.mark.parametrize("value", [5, True, 1.5, [], {}, [[1]], {"a": 1}, "", "much too long", None])
def test_a_field_that_is_not_needed_is_left_out_and_named(place: str, value: Any) -> None:
    read, left_out = DECODER.read(json.dumps(without(GOOD, place, value)).encode())
    assert left_out in ([], [place])
    assert read.inner is not None
    assert (read.inner.amount, read.inner.items and read.inner.items[0].amount) == (2, 1)
    if left_out:
        assert read == DECODER.decode(json.dumps(_dropped(place)).encode())


def _dropped(place: str) -> dict[str, Any]:
    changed = without(GOOD, place, None)
    holder: Any = changed
    for step in place.split(".")[:-1]:
        holder = holder[step][0] if isinstance(holder[step], list) else holder[step]
    del holder[place.rpartition(".")[2]]
    return changed


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *(("inner.amount", value) for value in ("5", -1, 1.5, True, [1], {})),
        ("inner.items.amount", "5"),
        ("inner", "text"),
        ("inner", [1]),
        ("id", 5),
        ("inner.id", None),
    ],
)
def test_a_deciding_field_is_never_left_out(place: str, value: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        DECODER.read(json.dumps(without(GOOD, place, value)).encode())


def test_an_empty_list_is_an_empty_object_as_php_writes_it() -> None:
    assert DECODER.read(b'{"id":"a","inner":[]}') == (Outer("a"), ["inner"])


@pytest.mark.parametrize(
    ("written", "word"),
    [
        (r"\ud800", "\0"),
        (r"a\udc00b", "a\0b"),
        (r"\udc00\ud800", "\0\0"),
        (r"\uD83D\uDE00", "😀"),
        (r"\ud83d\ud83d\ude00", "\0😀"),
        (r"\\ud800", r"\ud800"),
        (r"\\\ud800", "\\\0"),
        (r"\ud800\n", "\0\n"),
        (r"\ud800A", "\0A"),
        (r"\"\ud800", '"\0'),
    ],
)
def test_half_of_a_surrogate_pair_is_read_as_a_nul_wherever_it_is(written: str, word: str) -> None:
    decoder = Decoder(Item)
    assert decoder.decode(f'{{"word":"{written}","amount":1}}'.encode()) == Item(1, word)
    assert decoder.decode(f'{{"unknown {written}":"{written}","amount":1}}'.encode()) == Item(1)
    if "\0" in word:
        assert UNSTORABLE.search(written.encode())


@pytest.mark.parametrize("body", [b"", b"{", b'{"id":"\\ud800"', b'{"id":"\\u12"}', b'{"id":"\\q"}', b"[]", b'"\\ud800"', b"NaN"])
def test_a_body_that_is_no_json_or_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        DECODER.decode(body)


@given(st.text(st.characters(codec=None)))
def test_every_text_that_json_can_hold_is_read(text: str) -> None:
    read = Decoder(Item).decode(json.dumps({"word": text}).encode())
    assert read.word == "".join("\0" if "\ud800" <= each <= "\udfff" else each for each in text)
