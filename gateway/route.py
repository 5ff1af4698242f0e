"""
A route, declared once: its handler, its callers, and its part of the published contract.

Nothing is served that is not declared: the listeners are built from these records, and so is `schemas/openapi.json`.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from inspect import cleandoc
from typing import Any, Final, NamedTuple, get_args

import msgspec
from aiohttp import web

from gateway.errors import Reason
from gateway.proofs import Proof
from gateway.secrets.tokens import Role
from schemas import text
from schemas.fields import fields_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = type[msgspec.Struct] | tuple[type[msgspec.Struct], ...] | str
"""A record, one of several, or the media type of what is no JSON."""

ALWAYS: Final = frozenset({Reason.REQUEST_MALFORMED, Reason.EXPECT_HEADER_UNKNOWN, Reason.INTERNAL_ERROR, Reason.GATEWAY_FULL})
OF_SCHEMA: Final = frozenset({Reason.SCHEMA_MISSING, Reason.SCHEMA_BEHIND, Reason.SCHEMA_AHEAD})
OF_TOKENS: Final = OF_SCHEMA | {
    Reason.TOKEN_MISSING,
    Reason.TOKEN_WRONG,
    Reason.CERTIFICATE_NOT_ALLOWED,
    Reason.POSTGRES_UNAVAILABLE,
}
OF_BODIES: Final = frozenset(
    {
        Reason.CONTENT_TYPE_NOT_JSON,
        Reason.BODY_TOO_SLOW,
        Reason.BODY_TOO_LARGE,
        Reason.BODY_NOT_JSON,
        Reason.FIELD_INVALID,
    },
)
OF_KEYS: Final = frozenset(
    {
        Reason.IDEMPOTENCY_KEY_MALFORMED,
        Reason.IDEMPOTENCY_KEY_REUSED,
        Reason.IDEMPOTENCY_IN_PROGRESS,
        Reason.PARTITION_MISSING,
    }
)

_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")


class Parameter(NamedTuple):
    """A parameter of a query or a header; `type` is one that msgspec can describe."""

    name: str
    type: Any
    description: str

    @property
    def is_time(self) -> bool:
        return datetime in {self.type, *get_args(self.type)}


KEY: Final = Parameter(
    "Idempotency-Key",
    text.IdempotencyKey,
    "The same key and request again give the same answer and change nothing; another request under it is refused.",
)


class Route(NamedTuple):
    """
    A method of a path.

    `name` is the route's in metrics and logs, and its `operationId`. The handler's docstring describes it, unless `description`
    does. `role` is what a token must hold, and is asked for before the handler is called; without one anybody may call. `body`
    and `query` are the records that validate them, `id_type` what the ids in the path are, and `id_refusal` why others are
    refused. `answers` says what comes with which status where all is well, `refuses` what may be wrong besides what follows from
    the rest. `proofs` are the ways to show who calls where no token is asked for; any of them will do.
    """

    method: str
    path: str
    name: str
    handler: Handler
    answers: Mapping[int, Answer]
    role: Role | None = None
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    headers: tuple[Parameter, ...] = ()
    proofs: tuple[Proof, ...] = ()
    refuses: frozenset[Reason] = frozenset()
    id_type: Any = text.Id
    id_refusal: Reason = Reason.NOT_FOUND
    description: str = ""

    @property
    def text(self) -> str:
        """The description of the route, the first line in short."""
        return self.description or cleandoc(self.handler.__doc__ or "")

    @property
    def parameters(self) -> list[Parameter]:
        """The fields of the query."""
        return [Parameter(field.name, field.kind, field.description) for field in fields_of(self.query)] if self.query else []

    @property
    def ids(self) -> list[str]:
        """The names in the path."""
        return _PATH_PARAMETER.findall(self.path)

    @property
    def takes_key(self) -> bool:
        """True if the route honours `Idempotency-Key`: all that our own services and operators may POST."""
        return self.method == "POST" and self.role is not None

    @property
    def reasons(self) -> frozenset[Reason]:
        """Every reason that it may refuse for."""
        found = ALWAYS | self.refuses
        if self.role:
            found |= OF_TOKENS
        if self.role == "admin":
            found |= {Reason.ADMIN_TOKEN_NEEDED}
        if self.role and self.body:
            found |= OF_BODIES
        if self.takes_key:
            found |= OF_KEYS | {Reason.BODY_TOO_LARGE}
        if self.query:
            found |= {Reason.QUERY_MALFORMED}
        if self.ids:
            found |= {self.id_refusal}
        return found


ROUTES: Final = web.AppKey("routes", dict[str, Route])
"""What an application serves, by name."""


def serve(app: web.Application, routes: Iterable[Route]) -> None:
    """Have the application serve the routes; a GET serves HEAD too."""
    app[ROUTES] = {route.name: route for route in routes}
    for route in app[ROUTES].values():
        if route.method == "GET":
            app.router.add_get(route.path, route.handler, name=route.name)
        else:
            app.router.add_route(route.method, route.path, route.handler, name=route.name)
