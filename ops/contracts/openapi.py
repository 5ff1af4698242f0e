"""
The published contract of both listeners: OpenAPI 3.1, made from the routes that are served and the records that validate.

The texts are those of the code: an operation's is its handler's docstring, an answer's its record's, and a field's is beside it.
`python -m ops.contracts.openapi` writes `schemas/openapi.json`; with `--check` it only compares the file with the code.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

import msgspec

import schemas
from gateway.errors import Reason
from gateway.problems import CONTENT_TYPE, RETRYABLE, Problem, title_of
from gateway.route import INTERNAL_TOKEN, KEY, PROOFS, Parameter, Route, records_of
from ops.contracts.examples import EXAMPLES
from ops.contracts.records import Record, attributes_of, describe, for_generators, publish, text_of, with_patterns_for_all
from ops.processes.routes import INTERNAL, WEBHOOKS
from schemas.rules import Json

References = Mapping[Record, Json]

FILE: Final = Path(schemas.__file__).with_name("openapi.json")

_ABOUT: Final = """\
Tallyhook receives webhooks and commands and turns each into its effects, once. A 2xx answer means that the request is committed.

Every error is a problem document (RFC 9457) whose `reason` is a stable word; `runbooks/README.md` lists the remedy for each. An
unknown path is `not_found`, and a method that is missing here is `method_not_allowed`. Every answer names its trace."""
# A path does not name its servers: that would override the host with which a client was created.
_SERVERS: Final = (
    ("http://127.0.0.1:8081", "The internal listener, for your own services and operators; never open it to the world."),
    ("http://127.0.0.1:8080", "The public listener, for providers and partners: `/v1/webhooks/` and the health checks."),
)
_TAGS: Final = {
    "/v1/webhooks/": (
        "webhooks",
        "On the public listener: events of payment providers and leads of partners. Each call proves its sender.",
    ),
    "/internal/": (
        "services",
        "On the internal listener: commands and queries of your own services. A command is durable before it is answered.",
    ),
    "/v1/admin/": (
        "operators",
        "On the internal listener: queries and actions of operators; they need an admin token, or a reader's for a query.",
    ),
    "/": ("process", "The gateway itself: health checks on both listeners, metrics and this document on the internal one."),
}
_HEADERS: Final[dict[str, Json]] = {
    "X-Trace-Id": {
        "description": "The id of the call's trace, as in logs, in the delivery log and on Kafka: 32 hex digits.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "required": True,
    },
    "Retry-After": {
        "description": "Seconds after which the same call may succeed.",
        "schema": {"type": "integer", "format": "int64", "minimum": 1},
        "required": True,
    },
    "WWW-Authenticate": {
        "description": "The kind of proof that is missing or wrong.",
        "schema": {"type": "string", "const": "Signature"},
        "required": True,
    },
    "Idempotent-Replayed": {
        "description": "Present if the answer is that of an earlier call with the same `Idempotency-Key`.",
        "schema": {"type": "string", "const": "true"},
    },
}
_MEDIA: Final[dict[str, Json]] = {
    "application/json": {"type": "object", "additionalProperties": True},
    "text/plain": {"type": "string"},
    "application/octet-stream": {"type": "string", "format": "binary"},
}


_LICENSE: Final = {"name": "Apache 2.0", "identifier": "Apache-2.0"}
_JSON: Final = "application/json"


@cache
def text() -> bytes:
    """The bytes of the published file."""
    return text_of(document())


def document() -> Json:
    """The contract; every record is described once, under `components`."""
    served = [*WEBHOOKS, *INTERNAL]
    records = [record for route in served for answer in (route.body, *route.answers.values()) for record in records_of(answer)]
    described = describe([Problem, *records], "#/components/schemas/{name}", EXAMPLES)
    paths: dict[str, Json] = {}
    for route in served:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, described.references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tallyhook", "version": "1.0.0", "description": _ABOUT, "license": _LICENSE},
        "servers": [{"url": url, "description": about} for url, about in _SERVERS],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.values()],
        "paths": paths,
        "components": {
            "schemas": described.schemas,
            "headers": _HEADERS,
            "securitySchemes": {proof.name: proof.scheme for proof in PROOFS},
        },
    }


def _operation(route: Route, references: References) -> Json:
    summary, _, description = route.text.partition("\n")
    operation: Json = {
        "operationId": route.name,
        "summary": summary,
        "description": description.strip(),
        "tags": [next(name for prefix, (name, _) in _TAGS.items() if route.path.startswith(prefix))],
        "parameters": _parameters(route),
        "responses": _responses(route, references),
        "security": _security(route),
    }
    if bodies := records_of(route.body):
        schema = _any(bodies, references)
        operation["requestBody"] = {"description": _texts(bodies), "required": True, "content": {_JSON: {"schema": schema}}}
    return operation


def _any(records: Sequence[Record], references: References) -> Json:
    """One of the records, which exclude each other; generated Go needs another module for `oneOf`, and none for `anyOf`."""
    found = [references[record] for record in records]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _texts(records: Iterable[Record]) -> str:
    """The first lines of the records' docstrings."""
    return " Or: ".join(cleandoc(record.__doc__ or "").partition("\n")[0] for record in records)


def _security(route: Route) -> list[Json]:
    """The alternatives; the list beside a token is the role that it needs."""
    return [{INTERNAL_TOKEN.name: [route.role]}] if route.role else [{proof.name: []} for proof in route.proofs]


def _parameters(route: Route) -> list[Json]:
    of_ids = {"in": "path", "required": True, "description": route.id_text}
    in_path = [{"name": name, **of_ids, "schema": _schema(route.id_schemas.get(name, route.id_type))} for name in route.ids]
    in_headers = (*route.headers, KEY) if route.takes_key else route.headers
    return [
        *in_path,
        *(_parameter(each, "query") for each in route.parameters),
        *(_parameter(each, "header") for each in in_headers),
    ]


def _parameter(parameter: Parameter, place: str) -> Json:
    schema = _schema(parameter.type)
    schema.pop("description", None)  # a field's own, which is the parameter's
    if schema.get("type") == "string" and parameter.is_time:
        schema["format"] = "date-time"
    found = {"name": parameter.name, "in": place, "description": parameter.description, "schema": schema}
    return found | ({"required": True} if parameter.required else {})


def _schema(kind: Any) -> Json:
    found: Json = for_generators(with_patterns_for_all(msgspec.json.schema(kind)))
    return found


def _responses(route: Route, references: References) -> Json:
    refused: dict[HTTPStatus, list[Reason]] = {}
    for reason in Reason:
        if reason in route.reasons:
            refused.setdefault(reason.status, []).append(reason)
    answered = {int(status): _answer(route, status, references) for status in route.answers}
    problems = {int(status): _problem(status, reasons, references) for status, reasons in refused.items()}
    return {str(status): response for status, response in sorted({**answered, **problems}.items())}


def _answer(route: Route, status: int, references: References) -> Json:
    answer = route.answers[status]
    records = records_of(answer)
    media = {_JSON: {"schema": _any(records, references)}} if records else {str(answer): {"schema": _MEDIA[str(answer)]}}
    return {
        "description": f"{HTTPStatus(status).phrase}: {route.answer_texts.get(status) or _texts(records)}",
        "headers": _named(("X-Trace-Id", "Idempotent-Replayed") if route.takes_key else ("X-Trace-Id",)),
        "content": media,
    }


def _problem(status: HTTPStatus, reasons: list[Reason], references: References) -> Json:
    headers = ["X-Trace-Id"]
    if status in RETRYABLE:
        headers.append("Retry-After")
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append("WWW-Authenticate")
    meanings = attributes_of(Reason)
    return {
        "description": "\n".join([f"{title_of(status)}:", "", *(f"- `{reason}`: {meanings[reason.name]}" for reason in reasons)]),
        "headers": _named(headers),
        "content": {CONTENT_TYPE: {"schema": references[Problem]}},
        "x-reasons": [str(reason) for reason in reasons],
    }


def _named(headers: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in headers}


def main(arguments: list[str]) -> int:
    return publish(FILE, text(), arguments, remedy="python -m ops.contracts.openapi")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
