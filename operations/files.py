"""
Reads the files and the typed lines that operators give to a command. An error is one line, and quotes no value.

If any row of a file is malformed, none is returned.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NoReturn

from operations.errors import OperationError, Reason
from schemas.text import DEPTH_MAX, is_storable, is_too_deep

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    Row = dict[str, Any]

_STDIN: Final = "-"
_DIGITS_MAX: Final = 400  # digits of an integer; Python refuses to parse some thousands, and no field of ours needs so many


def is_csv(path: Path) -> bool:
    """Report whether the file is read as CSV."""
    return path.suffix.lower() == ".csv"


def read_rows(path: Path, *, columns: Collection[str] = (), typed: Collection[str] = ()) -> list[Row]:
    """
    Read the objects of a JSON file, or of a CSV file if its name ends in `.csv`; `-` is standard input, as JSON.

    A CSV file must have these `columns`; the values of its `typed` columns are parsed as JSON, and an empty field is None.
    Raises OperationError `file_unreadable` or `file_malformed`.
    """
    name = "standard input" if str(path) == _STDIN else str(path)
    data = _bytes_of(path, name)
    try:
        text = _text_of(data)
        if not text.strip():
            raise ValueError("it is empty")  # noqa: TRY301  # all faults of the file are named in one place
        return [*_csv_rows(text, columns, typed)] if is_csv(path) else _json_rows(text, data)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        hint = "" if is_csv(path) else "; it is read as JSON, since only a file whose name ends in .csv is read as CSV"
        raise OperationError(Reason.FILE_MALFORMED, f"{name}: {why}{hint}") from error


def read_line() -> str:
    """
    Read the first line of standard input, without the white space around it.

    Raises OperationError `file_unreadable` or `file_malformed`.
    """
    try:
        return _text_of(sys.stdin.buffer.readline()).strip()
    except ValueError as error:
        raise OperationError(Reason.FILE_MALFORMED, f"standard input: {error}") from error
    except OSError as error:
        raise OperationError(Reason.FILE_UNREADABLE, f"standard input: {error.strerror}") from error


def _bytes_of(path: Path, name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == _STDIN else path.read_bytes()
    except OSError as error:
        raise OperationError(Reason.FILE_UNREADABLE, f"{name}: {error.strerror}") from error


def _text_of(data: bytes) -> str:
    """The text, without the byte order mark that editors on Windows write. Raises ValueError."""
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise ValueError("it is UTF-16: save it as UTF-8")
    if (place := data.find(b"\0")) >= 0:
        raise ValueError(f"line {_line_at(data[:place])}: a NUL character, which is frequent in UTF-16: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"line {_line_at(data[: error.start])}: it is not UTF-8") from error


def _line_at(before: bytes) -> int:
    return before.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1


def _json_rows(text: str, data: bytes) -> list[Row]:
    """Read a list of objects. Raises ValueError or RecursionError."""
    if is_too_deep(data):
        raise ValueError(f"it is nested more than {DEPTH_MAX} levels deep")
    try:
        rows = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_float, parse_int=_integer, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: not JSON: {error.msg}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is not a list of objects")
    for number, row in enumerate(rows, 1):
        if not is_storable(row):
            raise ValueError(f"object {number} has a NUL character or half of a surrogate pair in it")
    return rows


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _float(text: str) -> float:
    if not isfinite(number := float(text)):
        raise ValueError("it has a number that is too large")
    return number


def _integer(text: str) -> int:
    if len(text) > _DIGITS_MAX:
        raise ValueError("it has a number that is too large")
    return int(text)


def _object(fields: Sequence[tuple[str, Any]]) -> Row:
    if (twice := _first_duplicate([name for name, _ in fields])) is not None:
        raise ValueError(f"the field {twice!r} comes twice in one object")
    return dict(fields)


def _csv_rows(text: str, columns: Collection[str], typed: Collection[str]) -> Iterator[Row]:
    """Yield the rows below the header line; an empty field, or one that the line lacks, is None. Raises ValueError."""
    lines = _csv_lines(text)
    line, names = next(lines)
    if missing := [column for column in columns if column not in names]:
        raise ValueError(f"line {line}: there is no column {missing[0]!r}; the first line has the names, comma-separated")
    if twice := _first_duplicate([name for name in names if name]):  # in a file without a header line it may be a secret
        raise ValueError(f"line {line}: {f'the column {twice!r}' if twice in {*columns, *typed} else 'a column'} comes twice")
    for place, fields in lines:
        if any(fields[len(names) :]):  # spreadsheets write empty fields at the end of a row
            raise ValueError(f"line {place}: {len(fields)} fields, and only {len(names)} columns")
        row = dict(zip(names, fields, strict=False))
        if any(field and not name for name, field in zip(names, fields, strict=False)):
            raise ValueError(f"line {place}: a field below a column without a name")
        read = {name: _typed(field) if name in typed else field for name, field in row.items() if field}
        yield dict.fromkeys(filter(None, names)) | read


def _csv_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that are not blank, each with the number of its first line. Raises ValueError."""
    # Without `strict`, a quotation mark that is never closed would make one field of the rest of the file.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"line {line}: not CSV: {error}") from error
        if fields:
            yield line, fields


def _first_duplicate(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _typed(value: str) -> Any:
    try:
        return json.loads(value.lower())
    except (ValueError, RecursionError):  # the record refuses it, and states the type of the field
        return value
