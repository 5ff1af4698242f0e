"""Files of operators: each fault is one line with the name, the line and a reason, and never a traceback."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from operations.errors import OperationError, Reason
from operations.files import read_line, read_rows

if TYPE_CHECKING:
    from pathlib import Path

HEAD: Final = b"id,label\n"
LINES_OF_PYTHON_ALONE: Final = "a\x0bb\x0cc\x1cd\x1de\x85f\u2028g\u2029h"
"""`str.splitlines` ends a line at each of these; CSV does not."""


def read(folder: Path, name: str, data: bytes) -> list[dict[str, Any]]:
    (folder / name).write_bytes(data)
    return read_rows(folder / name, columns=("id",), typed=("count", "paused"))


def refused(folder: Path, name: str, data: bytes) -> str:
    with pytest.raises(OperationError) as caught:
        read(folder, name, data)
    assert caught.value.reason is Reason.FILE_MALFORMED
    text = str(caught.value)
    assert text.startswith(f"{folder / name}: ")
    assert "\n" not in text
    return text.removeprefix(f"{folder / name}: ")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "it is empty"),
        (b"\xef\xbb\xbf \r\n", "it is empty"),
        (HEAD + b"a,b\nc," + b"x" * 131_073, "line 3: not CSV: field larger than field limit (131072)"),
        (HEAD + b'a,b\nc,"never closed\nd,e\n', "line 3: not CSV: unexpected end of data"),
        (HEAD + b'a,"b"c\n', "line 2: not CSV: ',' expected after '\"'"),
        (HEAD + b'\n\na,"two\nlines"\nb,c,d\n', "line 6: 3 fields, and only 2 columns"),
        (b"id,label,\na,b,\nc,d,e\n", "line 3: a field below a column without a name"),
        (b"\nid,label,id\na,b,c\n", "line 2: the column 'id' comes twice"),
        (b"count,id,count\na,b,c\n", "line 1: the column 'count' comes twice"),
        (b"id,label,label\na,b,c\n", "line 1: a column comes twice"),
        (b"label;id\na;b\n", "line 1: there is no column 'id'; the first line has the names, comma-separated"),
        (HEAD + b"a,b\r\nc,\0\n", "line 3: a NUL character, which is frequent in UTF-16: save it as UTF-8"),
        (HEAD + b"a,b\rc,\xff\n", "line 3: it is not UTF-8"),
        ("id\nä\n".encode("utf-16"), "it is UTF-16: save it as UTF-8"),
        ("id\nä\n".encode("utf-16-be"), "line 1: a NUL character, which is frequent in UTF-16: save it as UTF-8"),
    ],
)
def test_a_fault_of_csv_names_its_line(tmp_path: Path, data: bytes, text: str) -> None:
    assert refused(tmp_path, "rows.csv", data) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "it is empty"),
        (b"[\n{,}]", "line 2: not JSON: Expecting property name enclosed in double quotes"),
        (b'{"id": "a"}', "it is not a list of objects"),
        (b"[1]", "it is not a list of objects"),
        (b'[{"id": NaN}]', "NaN is not a JSON number"),
        (b'[{"id": -Infinity}]', "-Infinity is not a JSON number"),
        (b'[{"id": 1e400}]', "it has a number that is too large"),
        (b'[{"id": ' + b"9" * 5000 + b"}]", "it has a number that is too large"),
        (b"[" * 100_000, "it is nested more than 100 levels deep"),
        (b'[{"a": ' * 101 + b"1" + b"}]" * 101, "it is nested more than 100 levels deep"),
        (b'["' + b"[" * 100_000, "line 1: not JSON: Unterminated string starting at"),
        (b'[{"id": "a"}, {"id": "\\u0000"}]', "object 2 has a NUL character or half of a surrogate pair in it"),
        (b'[{"id": "\\ud83d"}]', "object 1 has a NUL character or half of a surrogate pair in it"),
        (b'[{"id": "a", "id": "b"}]', "the field 'id' comes twice in one object"),
        ('[{"id": "ä"}]'.encode("utf-16"), "it is UTF-16: save it as UTF-8"),
        (b'[{"id":\n"\xe4"}]', "line 2: it is not UTF-8"),
    ],
)
def test_a_fault_of_json_names_its_line_where_it_has_one(tmp_path: Path, data: bytes, text: str) -> None:
    hint = "; it is read as JSON, since only a file whose name ends in .csv is read as CSV"
    assert refused(tmp_path, "rows.json", data) == text + hint


def test_a_value_is_never_quoted(tmp_path: Path) -> None:
    texts = [
        refused(tmp_path, "rows.csv", HEAD + b'a,"sk_live"x\n'),
        refused(tmp_path, "rows.csv", HEAD + b"a,b,sk_live\n"),
        refused(tmp_path, "rows.csv", b"stripe,eu,sk_live,live,sk_live\n"),
        refused(tmp_path, "rows.csv", b"id,eu,sk_live,live,sk_live\n"),
        refused(tmp_path, "rows.json", b'[{"secret": "sk_live"'),
    ]
    assert "sk_live" not in "".join(texts)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_json_and_csv_are_taken_with_and_without_a_byte_order_mark(tmp_path: Path, mark: bytes) -> None:
    assert read(tmp_path, "rows.json", mark + b'[{"id": "a"}]') == [{"id": "a"}]
    assert read(tmp_path, "rows.CSV", mark + b"id\r\na\r\n") == [{"id": "a"}]


def test_empty_fields_past_the_last_column_are_none(tmp_path: Path) -> None:
    assert read(tmp_path, "rows.csv", HEAD + b"a,b,,\nc,,\n") == [{"id": "a", "label": "b"}, {"id": "c", "label": None}]
    assert read(tmp_path, "rows.csv", b"id,,count\n,,\na,,0\n") == [{"id": None, "count": None}, {"id": "a", "count": 0}]
    assert refused(tmp_path, "rows.csv", HEAD + b"a,b,,c\n") == "line 2: 4 fields, and only 2 columns"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_quoted_field_keeps_every_character_that_ends_a_line_elsewhere(tmp_path: Path, end: str) -> None:
    label = f"{LINES_OF_PYTHON_ALONE}{end}second line"
    data = end.join(["id,label", f'a,"{label}"', f"b,{LINES_OF_PYTHON_ALONE}", "c", ""]).encode()
    expected = [{"id": "a", "label": label}, {"id": "b", "label": LINES_OF_PYTHON_ALONE}, {"id": "c", "label": None}]
    assert read(tmp_path, "rows.csv", data) == expected


def test_typed_fields_of_csv_are_read_as_json_and_none_makes_a_traceback(tmp_path: Path) -> None:
    deep = "[" * 100_000
    data = f"id,count,paused\na,3,TRUE\nb,{deep},nan\nc,\uff11\uff10,1_000\n".encode()
    assert read(tmp_path, "rows.csv", data) == [
        {"id": "a", "count": 3, "paused": True},
        {"id": "b", "count": deep, "paused": "nan"},
        {"id": "c", "count": "\uff11\uff10", "paused": "1_000"},
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [(".", "Is a directory"), ("nowhere.csv", "No such file or directory"), ("/proc/self/mem", "Input/output error")],
)
def test_an_unreadable_file_is_named(tmp_path: Path, path: str, text: str) -> None:
    with pytest.raises(OperationError) as caught:
        read_rows(tmp_path / path)
    assert (caught.value.reason, str(caught.value)) == (Reason.FILE_UNREADABLE, f"{tmp_path / path}: {text}")


class Typed(io.TextIOWrapper):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")


def test_standard_input_has_the_same_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dash = type(tmp_path)("-")
    monkeypatch.setattr("sys.stdin", Typed(b"\xef\xbb\xbf" + json.dumps([{"id": "a"}]).encode()))
    assert read_rows(dash) == [{"id": "a"}]
    monkeypatch.setattr("sys.stdin", Typed(b"[\n\xff"))
    with pytest.raises(OperationError, match=r"^standard input: line 2: it is not UTF-8; "):
        read_rows(dash)


def test_a_secret_that_is_typed_is_one_line_of_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Typed(b"\xef\xbb\xbf a-secret \r\nmore\n"))
    assert read_line() == "a-secret"
    for data, text in (
        (b"\xff\xfea\0", "it is UTF-16"),
        (b"s\xe4cret\n", "line 1: it is not UTF-8"),
        (b"a\0\n", "a NUL character"),
    ):
        monkeypatch.setattr("sys.stdin", Typed(data))
        with pytest.raises(OperationError, match=text) as caught:
            read_line()
        assert caught.value.reason is Reason.FILE_MALFORMED
