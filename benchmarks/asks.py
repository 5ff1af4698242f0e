"""
Every list and search of the operators, as calls: derived from the description of the API and from the console's own routes.

Each list is asked as it is, with each of its filters, and from the middle of the history on. A filter that has words is asked
with each of them; any other one with a value that many rows have, and with one that none has: then a page looks the furthest.
"""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import requests

from benchmarks.figures import Void, expect
from console.application import SCREENS_SHOWN
from runtime.addresses import address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.system import System

_OPENAPI: Final = Path(__file__).parent.parent / "schemas" / "openapi.json"
_OF_PAGES: Final = frozenset({"limit", "cursor", "from", "to", "q"})
_LIMIT: Final = 60.0  # seconds
_NONE_HAS: Final = "none-has-this"
_MANY_HAVE: Final = {
    "source": "stripe",
    "type": "payment_intent.succeeded",
    "reason": "signature_wrong",
    "currency": "eur",
    "status": "active",
    "user": "user_0",
    "customer": "cus_0",
    "consumer": "search",
    "topic": "property.events",
    "actor": "service",
    "path": "/internal/v1/notifications/send",
    "partner": "p0",
    "template": "payment-received",
    "key": "key-0",
}
_DEAD_LETTERS: Final = {"reason": "payload_invalid"}
# A dead letter of the history has the trace of a payment with a delivery and a call; an invoice has a subscription.
_FOUND: Final = """
select (select trace_id from dead_letters order by id desc limit 1), (select subscription_id from invoices limit 1)
"""
_STRICT: Final = ("trace", "currency", "key")  # whose pattern a word that none has would not match
_ACCOUNTS: Final = ("/v1/admin/overview", "/v1/admin/retention", "/v1/admin/ledger", "/v1/admin/stats", "/v1/admin/topology")
_COOKIE_PAGE: Final = "/console/sign-in"


class Ask(NamedTuple):
    """A call and its parameters."""

    path: str
    values: dict[str, str]

    def __str__(self) -> str:
        given = "&".join(f"{name}={value if name != 'cursor' else '…'}" for name, value in self.values.items())
        return f"{self.path}?{given}" if given else self.path


class Answered(NamedTuple):
    """The milliseconds that the call took: the median of a few."""

    ask: Ask
    took: float


class Operator:
    """A client of the internal listener, with an operator's token and a session of the console."""

    def __init__(self, ours: System, middle: datetime) -> None:
        """`middle` is a moment in the history, from which pages are asked as well."""
        settings = ours.settings
        self._root = address((settings["INTERNAL_HOST"], int(settings["INTERNAL_PORT"])))
        self._middle = middle.strftime("%Y-%m-%dT%H:%M:%SZ")
        with ours.connect() as connection:
            trace, subscription = connection.execute(_FOUND).fetchone() or (None, None)
        self._many_have = _MANY_HAVE | {"trace": trace, "subscription": subscription}
        self._session = requests.Session()
        token = settings["ADMIN_API_TOKEN"]
        response = self._session.post(
            f"{self._root}{_COOKIE_PAGE}", data={"token": token}, headers={"Origin": self._root}, timeout=_LIMIT
        )
        if not any(self._session.cookies):
            raise Void(f"the console answers {response.status_code} to the admin token")
        self._session.headers["X-Internal-Token"] = token

    def time(self, asks: Sequence[Ask], times: int) -> list[Answered]:
        """Each call so many times, one after the other. Raises Void for one that is not answered 200."""
        return [Answered(ask, statistics.median(self._took(ask) for _ in range(times))) for ask in asks]

    def lists(self, found: Sequence[str]) -> list[Ask]:
        """Every list of the API and every search; `found` are ids to look for."""
        asks: list[Ask] = []
        for path, parameters in _gets():
            if "limit" not in parameters:
                continue
            if "q" in parameters:
                asks += [Ask(path, {"q": each}) for each in (*found, _NONE_HAS)]
                continue
            for each in self._paths(path):
                many_have = self._many_have | (_DEAD_LETTERS if path.endswith("dead-letters") else {})
                for values in ({}, *_filters(parameters, many_have)):
                    asks += self._with_cursor(Ask(each, values), parameters)
        return asks

    def screens(self, found: Sequence[str]) -> list[Ask]:
        """Every page of the console and every part of one that names no single thing; the search with each of these ids."""
        routes = [route for screen in SCREENS_SHOWN for route in screen.routes if route.method == "GET"]
        asks = [Ask(f"/console{route.path}", {}) for route in routes if "{" not in route.path]
        asks += [Ask("/console/find", {"q": each}) for each in found]
        return [ask for ask in asks if self._is_page(ask)]

    def _is_page(self, ask: Ask) -> bool:
        """Return False for a part that wants parameters or leads elsewhere. Raises Void for an error of ours."""
        status = self._answer(ask).status_code
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Void(f"{ask} is answered {status}")
        return status == HTTPStatus.OK

    def accounts(self) -> list[Ask]:
        """The reads that count rather than list, as they are by default."""
        return [Ask(path, {}) for path, _ in _gets() if path in _ACCOUNTS]

    def _paths(self, path: str) -> Iterator[str]:
        """The path itself, or that of the newest thing whose id it needs."""
        parent, brace, rest = path.partition("/{")
        if not brace:
            yield path
            return
        name, _, rest = rest.partition("}")
        for item in self._json(Ask(parent, {"limit": "1"}))["items"]:
            yield f"{parent}/{item[name]}{rest}"

    def _with_cursor(self, ask: Ask, parameters: dict[str, Any]) -> Iterator[Ask]:
        yield ask
        if "to" in parameters:
            following = [self._json(Ask(ask.path, {**ask.values, "to": self._middle})).get("next")]
        else:
            following = [*self._pages({**ask.values, "limit": str(parameters["limit"]["maximum"])}, ask.path)]
        if cursor := next(iter(following[len(following) // 2 :]), None):
            yield Ask(ask.path, {**ask.values, "cursor": cursor})

    def _pages(self, values: dict[str, str], path: str) -> Iterator[str]:
        """The cursor of each page after the first: only lists of few rows have no `to`."""
        while cursor := self._json(Ask(path, values)).get("next"):
            yield cursor
            values = {**values, "cursor": cursor}

    def _took(self, ask: Ask) -> float:
        started = time.monotonic()
        self._get(ask)
        return (time.monotonic() - started) * 1000

    def _json(self, ask: Ask) -> dict[str, Any]:
        found: dict[str, Any] = self._get(ask).json()
        return found

    def _get(self, ask: Ask) -> requests.Response:
        response = self._answer(ask)
        expect(f"status of {ask}", response.status_code, HTTPStatus.OK)
        return response

    def _answer(self, ask: Ask) -> requests.Response:
        return self._session.get(f"{self._root}{ask.path}", params=ask.values, timeout=_LIMIT, allow_redirects=False)


def _gets() -> Iterator[tuple[str, dict[str, Any]]]:
    """The path and the schemas of the parameters of each operation that reads."""
    for path, operations in msgspec.json.decode(_OPENAPI.read_bytes())["paths"].items():
        if "get" in operations:
            yield path, {each["name"]: each["schema"] for each in operations["get"].get("parameters", [])}


def _filters(parameters: dict[str, Any], many_have: dict[str, str]) -> Iterator[dict[str, str]]:
    for name, schema in parameters.items():
        if name in _OF_PAGES or name.endswith("Id"):
            continue
        words = schema.get("enum") or [many_have.get(name), None if name in _STRICT else _NONE_HAS]
        yield from ({name: word} for word in words if word)


def middle_of(days: int) -> datetime:
    """The middle of so many days before today."""
    return datetime.now(UTC) - timedelta(days=days / 2)
