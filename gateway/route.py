"""
Routes, each declared once: its handler, its callers and how they prove who they are, and the texts of the published contract.

The listeners serve only declared routes: they are built from these records, and so is `schemas/openapi.json`.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from inspect import cleandoc
from types import MappingProxyType
from typing import Any, Final, NamedTuple, get_args

import msgspec
from aiohttp import web

from gateway.errors import Reason
from gateway.secrets.tokens import Role
from schemas import text
from schemas.fields import fields_of
from schemas.providers import ProviderName, providers


class Proof(NamedTuple):
    """A security scheme under its name."""

    name: str
    scheme: dict[str, Any]


def _header(name: str, header: str, description: str) -> Proof:
    return Proof(name, {"type": "apiKey", "in": "header", "name": header, "description": description})


INTERNAL_TOKEN: Final = _header(
    "internalToken",
    "X-Internal-Token",
    "A token of a service, or of an operator where the role `admin` is needed; several are alive at once, for rotation. "
    "A reader's token may call every GET but those of raw bodies; personal data in the answers is masked.",
)
PROVIDER_SIGNATURES: Final[Mapping[ProviderName, Proof]] = {
    provider.name: _header(f"{provider.name}Signature", provider.signature.header, provider.signature.description)
    for provider in providers()
}
PARTNER_SIGNATURE: Final = _header(
    "partnerSignature",
    "X-Partner-Signature",
    "`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of `<t>.<raw body>` under the secret of the partner that the body names, at most "
    "300 s from now; or `sha256=<hex>`: that of the raw body alone.",
)
PARTNER_TOKEN: Final = Proof(
    "partnerToken",
    {"type": "http", "scheme": "bearer", "description": "A token of the partner that the body names; it signs nothing."},
)

PROOFS: Final = (INTERNAL_TOKEN, *PROVIDER_SIGNATURES.values(), PARTNER_SIGNATURE, PARTNER_TOKEN)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Record = type[msgspec.Struct]
Records = Record | tuple[Record, ...]
"""A record, or one of several."""
Answer = Records | str
"""Records, or the media type of an answer other than a record."""

COMMON_REASONS: Final = frozenset(
    {Reason.REQUEST_MALFORMED, Reason.EXPECT_HEADER_UNKNOWN, Reason.INTERNAL_ERROR, Reason.GATEWAY_FULL}
)
SCHEMA_REASONS: Final = frozenset({Reason.SCHEMA_MISSING, Reason.SCHEMA_BEHIND, Reason.SCHEMA_AHEAD})
TOKEN_REASONS: Final = SCHEMA_REASONS | {
    Reason.TOKEN_MISSING,
    Reason.TOKEN_WRONG,
    Reason.CERTIFICATE_NOT_ALLOWED,
    Reason.POSTGRES_UNAVAILABLE,
}
BODY_REASONS: Final = frozenset(
    {
        Reason.CONTENT_TYPE_NOT_JSON,
        Reason.BODY_TOO_SLOW,
        Reason.BODY_TOO_LARGE,
        Reason.BODY_NOT_JSON,
        Reason.FIELD_INVALID,
    },
)
KEY_REASONS: Final = frozenset(
    {
        Reason.IDEMPOTENCY_KEY_MALFORMED,
        Reason.IDEMPOTENCY_KEY_REUSED,
        Reason.IDEMPOTENCY_IN_PROGRESS,
        Reason.PARTITION_MISSING,
    }
)

_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")


class Parameter(NamedTuple):
    """A parameter of a query or a header; msgspec validates and describes its `type`."""

    name: str
    type: Any
    description: str
    required: bool = False

    @property
    def is_time(self) -> bool:
        return datetime in {self.type, *get_args(self.type)}


KEY: Final = Parameter(
    "Idempotency-Key",
    text.IdempotencyKey,
    "A key of your choice: repeating the same request with it returns the first answer; another request with it is refused.",
)


def records_of(answer: Answer | None) -> tuple[Record, ...]:
    """The records of an answer or a body; empty for a media type and for None."""
    if answer is None or isinstance(answer, str):
        return ()
    return answer if isinstance(answer, tuple) else (answer,)


class Route(NamedTuple):
    """A method of a path."""

    method: str
    path: str
    name: str  #: The route's name in metrics and logs, and its `operationId`.
    handler: Handler  #: Its docstring describes the operation, unless `description` does.
    answers: Mapping[int, Answer]  #: The answer to each status of success.
    role: Role | None = None  #: The role that a token needs, checked before the handler is called; None if no token is needed.
    body: Records | None = None  #: The records that the body may be.
    query: type[msgspec.Struct] | None = None  #: The record of the query.
    headers: tuple[Parameter, ...] = ()
    proofs: tuple[Proof, ...] = ()  #: The alternative proofs of the caller where no token is needed.
    refuses: frozenset[Reason] = frozenset()  #: The reasons besides those that follow from the other fields.
    id_type: Any = text.Id  #: The type of the id in the path.
    id_schemas: Mapping[str, Any] = MappingProxyType({})  #: Narrower types of single ids, which the contract publishes.
    id_refusal: Reason = Reason.NOT_FOUND  #: The reason for an id of another type.
    id_text: str = ""  #: The description of the id in the path.
    description: str = ""
    keyed: bool = True  #: False for a POST whose answer must not be kept, since it shows a secret: it takes no `Idempotency-Key`.
    source: str = ""  #: The source of the webhooks that it receives, if its name is another.
    personal: frozenset[str] = frozenset()  #: The fields of its answers that hold personal data, which is masked for a reader.
    raw: bool = False  #: True if it returns received bytes unchanged, which no reader may see.
    answer_texts: Mapping[int, str] = MappingProxyType({})  #: Texts of answers by status, in place of their records'.

    @property
    def text(self) -> str:
        """The description of the operation; its first line is the summary."""
        return self.description or cleandoc(self.handler.__doc__ or "")

    @property
    def parameters(self) -> list[Parameter]:
        """The fields of the query."""
        if self.query is None:
            return []
        needed = {field.encode_name for field in msgspec.structs.fields(self.query) if field.required}
        return [Parameter(field.name, field.kind, field.description, field.name in needed) for field in fields_of(self.query)]

    @property
    def ids(self) -> list[str]:
        """The names of the parameters in the path."""
        return _PATH_PARAMETER.findall(self.path)

    @property
    def readable(self) -> bool:
        """True if a reader may call it."""
        return self.method == "GET" and not self.raw

    @property
    def takes_key(self) -> bool:
        """True if `Idempotency-Key` is honoured: for every POST of services and operators whose answer may be kept."""
        return self.method == "POST" and self.role is not None and self.keyed

    @property
    def reasons(self) -> frozenset[Reason]:
        """Every reason with which the route may refuse a call."""
        found = COMMON_REASONS | self.refuses
        if self.role:
            found |= TOKEN_REASONS
        if self.role and not self.readable:
            found |= {Reason.TOKEN_READ_ONLY}
        if self.role == "admin":
            found |= {Reason.ADMIN_TOKEN_NEEDED}
        if self.role and self.body:
            found |= BODY_REASONS
        if self.takes_key:
            found |= KEY_REASONS | {Reason.BODY_TOO_LARGE}
        if self.query:
            found |= {Reason.QUERY_MALFORMED}
        if self.ids:
            found |= {self.id_refusal}
        return found


ROUTES: Final = web.AppKey("routes", dict[str, Route])
"""The routes of an application, by name."""


def serve(app: web.Application, routes: Iterable[Route]) -> None:
    """Add the routes to the application; a GET route serves HEAD too."""
    app[ROUTES] = {route.name: route for route in routes}
    for route in app[ROUTES].values():
        if route.method == "GET":
            app.router.add_get(route.path, route.handler, name=route.name)
        else:
            app.router.add_route(route.method, route.path, route.handler, name=route.name)
