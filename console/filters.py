"""The filters of a list as fields of a form: derived from the query that the API has for the same list."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from msgspec.inspect import LiteralType

from gateway.paging import Limited

_OF_PAGES: Final = frozenset({"limit", "cursor"})
_LABELS: Final = {"from": "From, UTC", "to": "To, UTC"}


class Filter(NamedTuple):
    """A field of the form; with `words`, one of them is chosen."""

    name: str
    label: str
    words: tuple[str, ...]


class Given(NamedTuple):
    """The filters of a list as they were given: fields, values, and the address without the place in the list."""

    filters: list[Filter]
    values: Mapping[str, str]

    def with_cursor(self, cursor: str | None) -> str:
        """Return the query of the page after this one, with the same filters; empty where there is none."""
        return urlencode({**self.values, "cursor": cursor}) if cursor else ""


def given(request: web.Request, query: type[Limited]) -> Given:
    """Return the filters of the address; a field that was left empty narrows nothing."""
    return Given(list(filters_of(query)), filled(request))


def filled(request: web.Request) -> dict[str, str]:
    """Return the fields of the address that were filled in."""
    return {name: text for name, text in request.query.items() if text}


def filters_of(query: type[Limited]) -> Iterator[Filter]:
    """Yield the filters that a query has beside its place in the list; times come last."""
    info: Any = msgspec.inspect.type_info(query)
    fields = [field for field in info.fields if field.encode_name not in _OF_PAGES]
    for field in sorted(fields, key=lambda field: field.encode_name in _LABELS):
        name = field.encode_name
        yield Filter(name, _LABELS.get(name, name.capitalize()), tuple(_words(field.type)))


def _words(type_: Any) -> Iterator[str]:
    """Yield the words of a list of words, however it is wrapped."""
    if isinstance(type_, LiteralType):
        yield from map(str, type_.values)
    for part in getattr(type_, "types", [inner] if (inner := getattr(type_, "type", None)) else []):
        yield from _words(part)
