"""The filters of a list as form fields, derived from the API's query of the same list."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from msgspec.inspect import LiteralType, Metadata

_OF_PAGES: Final = frozenset({"limit", "cursor"})
_TIMES: Final = frozenset({"from", "to"})
_LABELS: Final = {
    "from": "From, UTC",
    "to": "To, UTC",
    "status": "State",
    "actor": "Token or role",
    "path": "Path begins with",
    "name": "Id contains",
}
"""The labels of fields whose names alone would not explain them."""
_HINTS: Final = {
    "from": "2026-11-28T10:00",
    "to": "2026-11-28T11:00",
    "account": "acct_…",
    "actor": "admin",
    "currency": "eur",
    "customer": "cus_…",
    "endpoint": "eu",
    "key": "rate_limit.webhooks",
    "partner": "acme",
    "path": "/v1/admin/",
    "reason": "signature_wrong",
    "status": "active",
    "subscription": "sub_…",
    "template": "payment-failed",
    "type": "payment_intent.succeeded",
    "user": "your id",
}
"""Example values of fields, shown while a field is empty."""


class Filter(NamedTuple):
    """A field of the form; if it has `words`, it is a selection of them. `about` is its description in the API."""

    name: str
    label: str
    words: Sequence[str]
    hint: str
    about: str


class Given(NamedTuple):
    """The filters of a list: the fields of the form, and the values that the address has for them."""

    filters: list[Filter]
    values: Mapping[str, str]

    def with_cursor(self, cursor: str | None) -> str:
        """Return the query of the next page with the same filters; empty if there is none."""
        return urlencode({**self.values, "cursor": cursor}) if cursor else ""


def given(request: web.Request, query: type[msgspec.Struct], choices: Mapping[str, Sequence[str]]) -> Given:
    """Return the filters of the address; empty fields are ignored."""
    return Given(list(filters_of(query, choices)), filled(request))


def filled(request: web.Request) -> dict[str, str]:
    """Return the fields of the address that were filled in."""
    return {name: text for name, text in request.query.items() if text}


def filters_of(query: type[msgspec.Struct], choices: Mapping[str, Sequence[str]]) -> Iterator[Filter]:
    """
    Yield the filters of a query, without limit and cursor; times come last.

    A field in `choices` offers those words; any other field offers the words that its type allows.
    """
    info: Any = msgspec.inspect.type_info(query)
    fields = [field for field in info.fields if field.encode_name not in _OF_PAGES]
    for field in sorted(fields, key=lambda field: field.encode_name in _TIMES):
        name = field.encode_name
        parts = list(_parts(field.type))
        words = choices.get(name) or _words(parts)
        yield Filter(name, _LABELS.get(name, name.capitalize()), words, _HINTS.get(name, ""), _about(parts))


def _words(parts: Iterable[Any]) -> tuple[str, ...]:
    """Return the words that a literal type allows."""
    return tuple(str(word) for part in parts if isinstance(part, LiteralType) for word in part.values)


def _about(parts: Iterable[Any]) -> str:
    """Return the description of a field in the API."""
    described = (
        part.extra_json_schema.get("description") for part in parts if isinstance(part, Metadata) and part.extra_json_schema
    )
    return next(filter(None, described), "").replace("`", "")


def _parts(type_: Any) -> Iterator[Any]:
    """Yield a type and all types inside it."""
    yield type_
    for part in getattr(type_, "types", [inner] if (inner := getattr(type_, "type", None)) else []):
        yield from _parts(part)
