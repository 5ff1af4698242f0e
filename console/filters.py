"""The filters of a list as fields of a form: derived from the query that the API has for the same list."""

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
"""The label of a field that its name alone would not explain."""
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
"""An example of what a field takes, shown while it is empty."""


class Filter(NamedTuple):
    """A field of the form; with `words`, one of them is chosen. `about` is the description that the API has of it."""

    name: str
    label: str
    words: Sequence[str]
    hint: str
    about: str


class Given(NamedTuple):
    """The filters of a list as they were given: fields, values, and the address without the place in the list."""

    filters: list[Filter]
    values: Mapping[str, str]

    def with_cursor(self, cursor: str | None) -> str:
        """Return the query of the page after this one, with the same filters; empty where there is none."""
        return urlencode({**self.values, "cursor": cursor}) if cursor else ""


def given(request: web.Request, query: type[msgspec.Struct], choices: Mapping[str, Sequence[str]]) -> Given:
    """Return the filters of the address; a field that was left empty narrows nothing."""
    return Given(list(filters_of(query, choices)), filled(request))


def filled(request: web.Request) -> dict[str, str]:
    """Return the fields of the address that were filled in."""
    return {name: text for name, text in request.query.items() if text}


def filters_of(query: type[msgspec.Struct], choices: Mapping[str, Sequence[str]]) -> Iterator[Filter]:
    """
    Yield the filters that a query has beside its place in the list; times come last.

    A field of `choices` offers these words, any other the words that its type allows.
    """
    info: Any = msgspec.inspect.type_info(query)
    fields = [field for field in info.fields if field.encode_name not in _OF_PAGES]
    for field in sorted(fields, key=lambda field: field.encode_name in _TIMES):
        name = field.encode_name
        parts = list(_parts(field.type))
        words = choices.get(name) or _words(parts)
        yield Filter(name, _LABELS.get(name, name.capitalize()), words, _HINTS.get(name, ""), _about(parts))


def _words(parts: Iterable[Any]) -> tuple[str, ...]:
    """The words of a list of words."""
    return tuple(str(word) for part in parts if isinstance(part, LiteralType) for word in part.values)


def _about(parts: Iterable[Any]) -> str:
    """The description that the API has of a field."""
    described = (
        part.extra_json_schema.get("description") for part in parts if isinstance(part, Metadata) and part.extra_json_schema
    )
    return next(filter(None, described), "").replace("`", "")


def _parts(type_: Any) -> Iterator[Any]:
    """Yield a type and all that it wraps."""
    yield type_
    for part in getattr(type_, "types", [inner] if (inner := getattr(type_, "type", None)) else []):
        yield from _parts(part)
