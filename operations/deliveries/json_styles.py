"""
Rewrites JSON as the libraries of other languages write it, with numbers as they round and write them.

A layout sets the white space between the tokens, and an escape function writes the strings.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from itertools import product
from typing import Any, Final, NamedTuple


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


class _String(str):
    """The value of a string, among pieces of JSON."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """The fields of an object, in which a name may come twice."""

    __slots__ = ()


class _Layout(NamedTuple):
    """White space; without an `indent` everything is on one line. With `inline`, each list is on one line, as in Jackson."""

    comma: str
    colon: str
    indent: str | None = None
    line: str = "\n"
    no_fields: str = "{}"
    no_items: str = "[]"
    inline: bool = False


_COMPACT: Final = _Layout(",", ":")
_SPACED: Final = _Layout(", ", ": ")
_PRETTY: Final = _Layout(",", ": ", "  ")
_LAYOUTS: Final = (
    _COMPACT,
    _SPACED,
    _PRETTY,
    _Layout(",", ": "),
    _Layout(",", ": ", "    "),
    _Layout(",", ": ", "\t"),
    _Layout(",", ": ", "  ", no_fields="{\0}", no_items="[\n\0]"),  # Ruby, before its json 2.10
    _Layout(",", " : ", "  ", no_fields="{ }", no_items="[ ]", inline=True),  # Jackson
)
_UNIX_AND_WINDOWS: Final = ("\n", "\r\n")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\u[0-9a-f]{4}")
_FIELDS_MAX: Final = 12


def rewritten(text: str) -> Iterator[str]:
    """Yield the JSON text as other libraries write it; nothing if it is not JSON, or nested too deeply."""
    try:
        data = _parsed(text)
        if isinstance(data, str) and not isinstance(data, _Number):  # JSON within a JSON string
            yield data
            yield from rewritten(data)
            return
        yield from _escaped([*_tokens(text)])
        yield from _written(data)
        if (whole := _with_numbers(data, _as_integer)) != data:
            yield from _written(whole)
        for changed in _with_fractions(data):
            for layout in (_COMPACT, _SPACED, _PRETTY):
                yield from _escaped([*_pieces(changed, layout, 0)], _ESCAPES[:4])
    except (ValueError, RecursionError):
        return


def _parsed(text: str) -> Any:
    return json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_Object)


def _written(data: Any) -> Iterator[str]:
    by_name, by_length = _sorted(data, _by_name), _sorted(data, _by_length)
    for layout, ordered in [*product(_LAYOUTS, (data, by_name)), (_COMPACT, by_length), (_SPACED, by_length)]:
        pieces = [*_pieces(ordered, layout, 0)]
        for text in _escaped(pieces):
            yield text
            if layout.indent is not None:
                yield text.replace("\n", "\r\n")


def _tokens(text: str) -> Iterator[str]:
    """Split the text into pieces, with its own white space and numbers."""
    end = 0
    for found in _STRING.finditer(text):
        yield text[end : found.start()]
        yield _String(json.loads(found[0]))
        end = found.end()
    yield text[end:]


def _pieces(value: Any, layout: _Layout, depth: int) -> Iterator[str]:
    if isinstance(value, _Object):
        fields = [[_String(name), layout.colon, *_pieces(field, layout, depth + 1)] for name, field in value]
        yield from _joined("{}", fields, layout, depth, layout.no_fields)
    elif isinstance(value, list):
        level = depth if layout.inline else depth + 1
        yield from _joined("[]", [[*_pieces(item, layout, level)] for item in value], layout, depth, layout.no_items)
    elif isinstance(value, _Number):
        yield str(value)
    else:
        yield _String(value) if isinstance(value, str) else json.dumps(value)


def _joined(ends: str, parts: Sequence[Sequence[str]], layout: _Layout, depth: int, empty: str) -> Iterator[str]:
    if not parts:
        yield empty.replace("\0", f"{layout.line}{(layout.indent or '') * depth}")
        return
    inline = layout.inline and ends == "[]"
    start, between, end = "", layout.comma, ""
    if inline:
        start, between, end = " ", ", ", " "
    elif layout.indent is not None:
        start = layout.line + layout.indent * (depth + 1)
        between, end = layout.comma + start, layout.line + layout.indent * depth
    yield ends[0] + start
    for number, part in enumerate(parts):
        if number:
            yield between
        yield from part
    yield end + ends[1]


def _escaped(pieces: Sequence[str], escapes: Sequence[Callable[[str], str]] | None = None) -> Iterator[str]:
    """Join the pieces, with the strings as each library escapes them; a result equal to the last one is left out."""
    places = [place for place, piece in enumerate(pieces) if isinstance(piece, _String)]
    strings = {pieces[place] for place in places}
    text = list(pieces)
    last: dict[str, str] | None = None
    for escape in _ESCAPES if escapes is None else escapes:
        written = {string: escape(str(string)) for string in strings}
        if written == last:
            continue
        last = written
        for place in places:
            text[place] = written[pieces[place]]
        yield "".join(text)


def _plain(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _ascii(text: str) -> str:
    return json.dumps(text)


def _upper(text: str) -> str:
    return _ESCAPE.sub(lambda found: f"\\u{found[0][2:].upper()}", text)


def _escape_with(text: str, written: Mapping[str, str | int | None], *, base: Callable[[str], str], upper: bool = False) -> str:
    found = base(text)
    return (_upper(found) if upper else found).translate(str.maketrans({**written}))


def _by_number(characters: str, digits: str = "04x") -> dict[str, str | int | None]:
    return {character: f"\\u{ord(character):{digits}}" for character in characters}


_SLASH: Final[Mapping[str, str | int | None]] = {"/": "\\/"}
_HTML: Final = _by_number("&<>")
_LINES: Final = _by_number("\u2028\u2029")
_DOT_NET: Final = _by_number("&<>'+`\x7f", "04X")
_ESCAPES: Final[tuple[Callable[[str], str], ...]] = (
    _plain,  # JavaScript, Ruby, Rust
    _ascii,  # Python
    partial(_escape_with, written=_SLASH, base=_ascii),  # PHP
    partial(_escape_with, written=_SLASH, base=_plain),  # PHP, with JSON_UNESCAPED_UNICODE
    partial(_escape_with, written=_HTML | _LINES, base=_plain),  # Go, Rails
    partial(_escape_with, written=_HTML, base=_ascii),
    partial(_escape_with, written=_by_number("&<>='") | _LINES, base=_plain),  # Gson
    partial(_escape_with, written={}, base=_ascii, upper=True),  # Jackson, with ESCAPE_NON_ASCII
    partial(_escape_with, written=_SLASH, base=_ascii, upper=True),
    lambda text: _escape_with(text, _DOT_NET, base=_ascii, upper=True).replace('\\"', "\\u0022"),  # System.Text.Json
    lambda text: _plain(text).replace("</", "<\\/"),  # org.json
    partial(_escape_with, written=_LINES, base=_plain),  # PHP 7.1 with JSON_UNESCAPED_UNICODE alone
)


def _by_name(field: tuple[str, Any]) -> Any:
    return field[0]


def _by_length(field: tuple[str, Any]) -> Any:
    return len(field[0].encode("utf-8", "surrogatepass")), field[0]  # the order of jsonb in Postgres


def _sorted(value: Any, key: Callable[[tuple[str, Any]], Any]) -> Any:
    if isinstance(value, _Object):
        return _Object(sorted(((name, _sorted(field, key)) for name, field in value), key=key))
    return [_sorted(item, key) for item in value] if isinstance(value, list) else value


def _with_numbers(value: Any, change: Callable[[_Number], str], name: str | None = None) -> Any:
    """Return the value with changed numbers: all of them, or those in fields of that name."""
    return _changed(value, lambda field, number: _Number(change(number)) if name in {None, field} else number, "")


def _changed(value: Any, change: Callable[[str, _Number], _Number], field: str) -> Any:
    if isinstance(value, _Object):
        return _Object([(name, _changed(inner, change, name)) for name, inner in value])
    if isinstance(value, list):
        return [_changed(item, change, field) for item in value]
    return change(field, value) if isinstance(value, _Number) else value


def _as_integer(number: _Number) -> str:
    """Write `10.0` and `1.0E1` as `10`: the integers of the sender became floats on their way."""
    try:
        value = Decimal(number)
    except InvalidOperation:
        return number
    return f"{value:.0f}" if value.adjusted() < 20 and value == value.to_integral_value() else number  # noqa: PLR2004  # digits


def _with_fractions(data: Any) -> Iterator[Any]:
    """Yield the data with restored zeros (JavaScript writes `10.0` as `10`), in all numbers or in those of one field."""
    names = [None, *dict.fromkeys(_number_fields(data, ""))]
    if len(names) <= _FIELDS_MAX:
        for name, places in product(names, (1, 2)):
            yield _with_numbers(data, partial(_to_places, places=places), name)


def _to_places(number: _Number, places: int) -> str:
    whole, point, fraction = number.partition(".")
    if not whole.lstrip("-").isdecimal() or not (fraction.isdecimal() or not point) or len(fraction) >= places:
        return number
    return f"{whole}.{fraction.ljust(places, '0')}"


def _number_fields(value: Any, field: str) -> Iterator[str]:
    """Yield the names of the fields that contain numbers."""
    if isinstance(value, _Object):
        for name, inner in value:
            yield from _number_fields(inner, name)
    elif isinstance(value, list):
        for item in value:
            yield from _number_fields(item, field)
    elif isinstance(value, _Number):
        yield field
