"""
Calls of every list and search of the operators, derived from the OpenAPI description and from the console's routes.

Each list is called without a filter, with each of its filters, and from the middle of the history on. A filter with an enum is
called with each of its values; any other filter with a value of many rows, and with one of no row, which reads the most rows.
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
_PAGE_PARAMETERS: Final = frozenset({"limit", "cursor", "from", "to", "q"})
_LIMIT: Final = 60.0  # seconds
_NO_MATCH: Final = "none-has-this"
_MANY_MATCHES: Final = {
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
# A dead letter of the history has the trace of a payment that has a delivery and a call; an invoice has a subscription.
_FOUND: Final = """
select (select trace_id from dead_letters order by id desc limit 1), (select subscription_id from invoices limit 1)
"""
_STRICT: Final = ("trace", "currency", "key")  # parameters whose pattern refuses `_NO_MATCH`
_ACCOUNTS: Final = ("/v1/admin/overview", "/v1/admin/retention", "/v1/admin/ledger", "/v1/admin/stats", "/v1/admin/topology")
_COOKIE_PAGE: Final = "/console/sign-in"


class Call(NamedTuple):
    """A GET call with its parameters."""

    path: str
    values: dict[str, str]

    def __str__(self) -> str:
        given = "&".join(f"{name}={value if name != 'cursor' else '…'}" for name, value in self.values.items())
        return f"{self.path}?{given}" if given else self.path


class Timed(NamedTuple):
    """The duration of a call in milliseconds: the median of several times."""

    call: Call
    took: float


class Operator:
    """A client of the internal listener, with an operator's token and a session of the console."""

    def __init__(self, ours: System, middle: datetime) -> None:
        """`middle` is a time in the history, from which pages are requested too."""
        settings = ours.settings
        self._root = address((settings["INTERNAL_HOST"], int(settings["INTERNAL_PORT"])))
        self._middle = middle.strftime("%Y-%m-%dT%H:%M:%SZ")
        with ours.connect() as connection:
            trace, subscription = connection.execute(_FOUND).fetchone() or (None, None)
        self._many_matches = _MANY_MATCHES | {"trace": trace, "subscription": subscription}
        self._session = requests.Session()
        token = settings["ADMIN_API_TOKEN"]
        response = self._session.post(
            f"{self._root}{_COOKIE_PAGE}", data={"token": token}, headers={"Origin": self._root}, timeout=_LIMIT
        )
        if not any(self._session.cookies):
            raise Void(f"the console answers {response.status_code} to the admin token")
        self._session.headers["X-Internal-Token"] = token

    def time(self, calls: Sequence[Call], times: int) -> list[Timed]:
        """Time each call `times` times, one after the other. Raises Void if an answer is not 200."""
        return [Timed(call, statistics.median(self._took(call) for _ in range(times))) for call in calls]

    def lists(self, found: Sequence[str]) -> list[Call]:
        """Return every list of the API and every search; `found` are ids for the searches."""
        calls: list[Call] = []
        for path, parameters in _gets():
            if "limit" not in parameters:
                continue
            if "q" in parameters:
                calls += [Call(path, {"q": each}) for each in (*found, _NO_MATCH)]
                continue
            for each in self._paths(path):
                many_matches = self._many_matches | (_DEAD_LETTERS if path.endswith("dead-letters") else {})
                for values in ({}, *_filters(parameters, many_matches)):
                    calls += self._with_cursor(Call(each, values), parameters)
        return calls

    def screens(self, found: Sequence[str]) -> list[Call]:
        """Return every console page, and every part, whose path has no parameter; and the search with each id of `found`."""
        routes = [route for screen in SCREENS_SHOWN for route in screen.routes if route.method == "GET"]
        calls = [Call(f"/console{route.path}", {}) for route in routes if "{" not in route.path]
        calls += [Call("/console/find", {"q": each}) for each in found]
        return [call for call in calls if self._is_page(call)]

    def _is_page(self, call: Call) -> bool:
        """Return False for a part that needs parameters or redirects. Raises Void for an internal error."""
        status = self._answer(call).status_code
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Void(f"{call} is answered {status}")
        return status == HTTPStatus.OK

    def accounts(self) -> list[Call]:
        """Return the reads that count instead of listing, without parameters."""
        return [Call(path, {}) for path, _ in _gets() if path in _ACCOUNTS]

    def _paths(self, path: str) -> Iterator[str]:
        """Yield the path itself, or, if it needs an id, the path of the newest object."""
        parent, brace, rest = path.partition("/{")
        if not brace:
            yield path
            return
        name, _, rest = rest.partition("}")
        for item in self._json(Call(parent, {"limit": "1"}))["items"]:
            yield f"{parent}/{item[name]}{rest}"

    def _with_cursor(self, call: Call, parameters: dict[str, Any]) -> Iterator[Call]:
        yield call
        if "to" in parameters:
            following = [self._json(Call(call.path, {**call.values, "to": self._middle})).get("next")]
        else:
            following = [*self._pages({**call.values, "limit": str(parameters["limit"]["maximum"])}, call.path)]
        if cursor := next(iter(following[len(following) // 2 :]), None):
            yield Call(call.path, {**call.values, "cursor": cursor})

    def _pages(self, values: dict[str, str], path: str) -> Iterator[str]:
        """Yield the cursor of each page after the first; only lists with few rows have no `to`."""
        while cursor := self._json(Call(path, values)).get("next"):
            yield cursor
            values = {**values, "cursor": cursor}

    def _took(self, call: Call) -> float:
        started = time.monotonic()
        self._get(call)
        return (time.monotonic() - started) * 1000

    def _json(self, call: Call) -> dict[str, Any]:
        found: dict[str, Any] = self._get(call).json()
        return found

    def _get(self, call: Call) -> requests.Response:
        response = self._answer(call)
        expect(f"status of {call}", response.status_code, HTTPStatus.OK)
        return response

    def _answer(self, call: Call) -> requests.Response:
        return self._session.get(f"{self._root}{call.path}", params=call.values, timeout=_LIMIT, allow_redirects=False)


def _gets() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path of each GET operation, with the schemas of its parameters."""
    for path, operations in msgspec.json.decode(_OPENAPI.read_bytes())["paths"].items():
        if "get" in operations:
            yield path, {each["name"]: each["schema"] for each in operations["get"].get("parameters", [])}


def _filters(parameters: dict[str, Any], many_matches: dict[str, str]) -> Iterator[dict[str, str]]:
    for name, schema in parameters.items():
        if name in _PAGE_PARAMETERS or name.endswith("Id"):
            continue
        words = schema.get("enum") or [many_matches.get(name), None if name in _STRICT else _NO_MATCH]
        yield from ({name: word} for word in words if word)


def middle_of(days: int) -> datetime:
    """Return the middle of the last `days` days."""
    return datetime.now(UTC) - timedelta(days=days / 2)
