"""
The published contract of both listeners: OpenAPI 3.1, made from the routes that are served and the records that validate.

`python -m ops.contracts.openapi` writes `schemas/openapi.json`; with `--check` it only says whether the file is as it should be.
"""

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec

import schemas
from gateway.errors import STATUS, Reason
from gateway.problems import COME_AGAIN, CONTENT_TYPE, Problem, title_of
from gateway.proofs import INTERNAL_TOKEN, PROOFS
from gateway.route import KEY, Answer, Parameter, Route
from ops.contracts.examples import EXAMPLES
from ops.contracts.records import Record, describe, for_generators, publish, text_of, with_patterns_for_all
from ops.processes.routes import INTERNAL, WEBHOOKS
from schemas.rules import Json

FILE: Final = Path(schemas.__file__).with_name("openapi.json")

_ABOUT: Final = """\
Webhooks in, effects out, nothing lost. A 2xx means that what was sent is committed.

Every refusal is a problem (RFC 9457) whose `reason` is a stable word; `runbooks/README.md` says what to do about each. A path
that leads nowhere is `not_found`, a method that is not named here `method_not_allowed`. Every answer names its trace."""
# A path does not name its servers: a client that is told its host at its beginning would be led away from it again.
_SERVERS: Final = (
    ("http://127.0.0.1:8081", "The internal listener: our own services and operators. Never to be opened to the world."),
    ("http://127.0.0.1:8080", "The public listener: what providers and partners reach, which is `/v1/webhooks/`."),
)
_TAGS: Final = {
    "/v1/webhooks/": (
        "webhooks",
        "On the public listener: events of payment providers and leads of partners, each with a proof of who sent it.",
    ),
    "/internal/": (
        "services",
        "On the internal listener: what our own services ask for. A command is durable before it is answered.",
    ),
    "/v1/admin/": ("operators", "On the internal listener: what operators ask and do."),
    "/": ("process", "The gateway itself: its health on both listeners, the rest on the internal one."),
}
_HEADERS: Final[dict[str, Json]] = {
    "X-Trace-Id": {
        "description": "The trace of the call: its name in logs, in the delivery log and on Kafka.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "required": True,
    },
    "Retry-After": {
        "description": "Seconds after which coming again can help.",
        "schema": {"type": "integer", "minimum": 1},
        "required": True,
    },
    "WWW-Authenticate": {"schema": {"type": "string", "const": "Signature"}, "required": True},
    "Idempotent-Replayed": {
        "description": "There where the answer is that of an earlier call under the same `Idempotency-Key`.",
        "schema": {"type": "string", "const": "true"},
    },
}
_MEDIA: Final[dict[str, Json]] = {
    "application/json": {"type": "object", "additionalProperties": True},
    "text/plain": {"type": "string"},
    "application/octet-stream": {"type": "string", "format": "binary"},
}
_PHRASES: Final = {200: "It is so.", 202: "It is written down; what comes of it can be asked for."}


@cache
def text() -> bytes:
    """The document, byte for byte as it is published."""
    return text_of(document())


def document() -> Json:
    """The contract; every record that it names is described once, under `components`."""
    served = [*WEBHOOKS, *INTERNAL]
    records = [record for route in served for record in (route.body, *_records(route)) if record]
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


_LICENSE: Final = {"name": "Apache 2.0", "identifier": "Apache-2.0"}


def _records(route: Route) -> Iterable[Record]:
    return (record for answer in route.answers.values() for record in _alternatives(answer))


def _alternatives(answer: Answer) -> tuple[Record, ...]:
    if isinstance(answer, str):
        return ()
    return answer if isinstance(answer, tuple) else (answer,)


def _operation(route: Route, references: Mapping[Record, Json]) -> Json:
    summary, _, description = route.text.partition("\n")
    operation: Json = {
        "operationId": route.name,
        "summary": summary,
        "tags": [next(name for prefix, (name, _) in _TAGS.items() if route.path.startswith(prefix))],
        "parameters": _parameters(route),
        "responses": _responses(route, references),
        "security": _security(route),
    }
    if description.strip():
        operation["description"] = description.strip()
    if route.body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": references[route.body]}}}
    return operation


def _security(route: Route) -> list[Json]:
    """Any of these; the words beside a token are the role that it must hold."""
    return [{INTERNAL_TOKEN.name: [route.role]}] if route.role else [{proof.name: []} for proof in route.proofs]


def _parameters(route: Route) -> list[Json]:
    of_ids = _schema(route.id_type)
    in_path = [{"name": name, "in": "path", "required": True, "schema": of_ids} for name in route.ids]
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
    return {"name": parameter.name, "in": place, "description": parameter.description, "schema": schema}


def _schema(kind: Any) -> Json:
    found: Json = for_generators(with_patterns_for_all(msgspec.json.schema(kind)))
    return found


def _responses(route: Route, references: Mapping[Record, Json]) -> Json:
    refused: dict[HTTPStatus, list[Reason]] = {}
    for reason in Reason:
        if reason in route.reasons:
            refused.setdefault(STATUS[reason], []).append(reason)
    answered = {int(status): _answer(route, status, references) for status in route.answers}
    problems = {int(status): _problem(status, reasons, references) for status, reasons in refused.items()}
    return {str(status): response for status, response in sorted({**answered, **problems}.items())}


def _answer(route: Route, status: int, references: Mapping[Record, Json]) -> Json:
    answer = route.answers[status]
    found = [references[record] for record in _alternatives(answer)]
    schema = found[0] if len(found) == 1 else {"anyOf": found}
    media = {answer: {"schema": _MEDIA[answer]}} if isinstance(answer, str) else {"application/json": {"schema": schema}}
    headers = ("X-Trace-Id", "Idempotent-Replayed") if route.takes_key else ("X-Trace-Id",)
    return {"description": _PHRASES[status], "headers": _named(headers), "content": media}


def _problem(status: HTTPStatus, reasons: list[Reason], references: Mapping[Record, Json]) -> Json:
    headers = ["X-Trace-Id"]
    if status in COME_AGAIN:
        headers.append("Retry-After")
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append("WWW-Authenticate")
    words = [str(reason) for reason in reasons]
    return {
        "description": f"{title_of(status)}: {', '.join(f'`{word}`' for word in words)}.",
        "headers": _named(headers),
        "content": {CONTENT_TYPE: {"schema": references[Problem]}},
        "x-reasons": words,
    }


def _named(headers: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in headers}


def main(arguments: list[str]) -> int:
    return publish(FILE, text(), arguments, remedy="python -m ops.contracts.openapi")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
