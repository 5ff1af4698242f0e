"""
The reception of a webhook: verify it, parse it, record it, answer.

Workers apply the effects of an event later. So an answer is quick, and a 2xx means that the event is committed.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from aiohttp import web
from prometheus_client import Counter

from gateway import metrics
from gateway.bodies import check_content_type
from gateway.clients import Clients
from gateway.errors import GatewayError, Reason
from gateway.keys import CALL, Call
from gateway.webhooks.intake import Intake
from gateway.webhooks.rejections import Rejected, RejectedLog
from gateway.webhooks.sources import Arrival, Source
from gateway.webhooks.worth import Worth
from outbox.append import Received, Recorded
from runtime import tracing
from runtime.redaction import redacted
from runtime.settings import Secret
from runtime.tracing import parse_traceparent
from schemas.endpoints import is_slug
from schemas.text import storable

_KEPT_HEADERS: Final = ("Content-Type", "User-Agent")
_JSON_HEADERS: Final = {"Content-Type": "application/json"}
_SERVER_ERRORS: Final = 500
_OUTCOMES: Final = ("accepted", "duplicate", "ignored")


class Acknowledged(msgspec.Struct, frozen=True, omit_defaults=True):
    """The event is committed, by this call or by an earlier one."""

    received: bool  #: Always true.
    id: UUID  #: The event's id (`ce_id`); for a duplicate, that of the original.
    duplicate: bool  #: True if the event was committed before.
    ignored: bool = False  #: True if the event is stored for a replay and goes to no worker.
    reason: str | None = None  #: Why it is ignored: `type_not_handled`, `other_mode`, `api_key_missing` or `object_unnamed`.


Admit = Callable[[web.Request, Received], Awaitable[None]]
Answer = Callable[[Received, Recorded], web.Response]


class Refusing:
    """
    The time for which this gateway has been refusing one source, or one endpoint of it.

    Once that exceeds `gives_up`, the provider stops retrying and its events are lost.
    """

    def __init__(
        self, source: str, gives_up: timedelta | None, *, endpoint: str = "", now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._since: float | None = None
        metrics.REFUSING.labels(source, endpoint).set_function(self.seconds)
        if gives_up is not None:
            metrics.GIVES_UP.labels(source, endpoint).set(gives_up.total_seconds())

    def accepted(self) -> None:
        self._since = None

    def refused(self) -> None:
        if self._since is None:
            self._since = self._now()

    def seconds(self) -> float:
        """Seconds since the first refusal after which no delivery was accepted; 0 if the last one was accepted."""
        since = self._since
        return 0.0 if since is None else self._now() - since


class _Live(NamedTuple):
    source: Source
    secrets: Sequence[Secret]
    uses: Mapping[str, Counter]


class Reception:
    """
    Receives the webhooks of one source.

    `admit` may refuse a verified and parsed delivery before it is recorded; `answer` makes the answer once it is.
    `used` counts the use of a secret, by its public id. A reception that only refuses is not `watched`: it has no metrics.
    """

    def __init__(
        self,
        source: Source,
        secrets: Sequence[Secret],
        *,
        intake: Intake,
        rejections: RejectedLog,
        max_body_bytes: int,
        used: Callable[[str], None],
        clients: Clients,
        now: Callable[[], float] = time.time,
        admit: Admit | None = None,
        answer: Answer | None = None,
        watched: bool = True,
    ) -> None:
        self._source = source
        self._used = used
        self._clients = clients
        self._admit = admit
        self._answer = answer or acknowledge
        self._intake = intake
        self._rejections = rejections
        self._max_body_bytes = max_body_bytes
        self._now = now
        self._endpoint = source.endpoint or ""
        self._refusing = Refusing(source.name, source.gives_up, endpoint=self._endpoint) if watched else None
        self.renew(source, secrets)
        outcomes = _OUTCOMES if watched else ()
        self._received = {word: metrics.RECEIVED.labels(source.name, word, self._endpoint) for word in outcomes}

    def renew(self, source: Source, secrets: Sequence[Secret]) -> None:
        """Use this source and these secrets from now on; the source may hold secrets too."""
        # Looked up once: a label costs more than the count.
        uses = {secret.id: metrics.SECRET_USES.labels(source.name, secret.id) for secret in secrets}
        self._live = _Live(source, secrets, uses)  # in one step: requests are under way

    def close(self) -> None:
        """Refuse every delivery from now on: its secrets are removed."""
        self._live = self._live._replace(secrets=())

    def forget(self) -> None:
        """Remove the metrics: the endpoint is removed."""
        for word in _OUTCOMES:
            metrics.RECEIVED.remove(self._source.name, word, self._endpoint)
        for gauge in (metrics.REFUSING, metrics.GIVES_UP):
            gauge.remove(self._source.name, self._endpoint)
        for counter in (metrics.IGNORED, metrics.REFUSALS):
            counter.remove_by_labels({"source": self._source.name, "endpoint": self._endpoint})

    async def receive(self, request: web.Request) -> web.Response:
        """Check the size and the type, read the raw bytes, verify the signature, parse, record and answer."""
        call = request[CALL]
        body: bytes | None = None
        secret: Secret | None = None
        live = self._live
        try:
            self._check_size(request)
            check_content_type(request.headers.get("Content-Type", ""))
            body = await self._read(request)
            secret = live.source.verify(body, request.headers, live.secrets, self._now())
            self._count(live, secret)
            traceparent = call.trace.child().traceparent
            received = live.source.receive(Arrival(call.id, traceparent, secret.id, body, request.headers))
            if self._admit:
                await self._admit(request, received)
            recorded = await self._record(received, call)
        except GatewayError as error:
            if self._refusing:
                self._refusing.refused()
            self._reject(request, call, error, body, proven=secret is not None)
            raise
        if self._refusing:
            self._refusing.accepted()
        self._received[recorded.outcome].inc()
        if recorded.outcome == "ignored":
            metrics.IGNORED.labels(self._source.name, received.ignored, self._endpoint).inc()
        return self._answer(received, recorded)

    def _count(self, live: _Live, secret: Secret) -> None:
        # A partner may have been added to the database since: only its source has its secrets.
        uses = live.uses.get(secret.id) or metrics.SECRET_USES.labels(live.source.name, secret.id)
        uses.inc()
        self._used(secret.id)

    def _check_size(self, request: web.Request) -> None:
        if (request.content_length or 0) > self._max_body_bytes:
            raise self._too_large()

    async def _read(self, request: web.Request) -> bytes:
        """
        The bytes as received; a body without Content-Length is bounded while it is read.

        Raises GatewayError `body_too_large`, or the `body_too_slow` of the connection, which bounds the time.
        """
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise self._too_large() from error

    async def _record(self, received: Received, call: Call) -> Recorded:
        began = tracing.now()
        recorded = await self._intake.record(received)
        if began and (trace := parse_traceparent(received.event.traceparent)):
            tracing.record(f"create {received.event.type}", trace, began, parent=call.trace.span_id, kind="producer")
        return recorded

    def _too_large(self) -> GatewayError:
        return GatewayError(Reason.BODY_TOO_LARGE, f"the body is larger than {self._max_body_bytes} bytes")

    def _reject(self, request: web.Request, call: Call, error: GatewayError, body: bytes | None, *, proven: bool) -> None:
        """Keep the delivery, unless we could not accept it for now: then the provider sends it again."""
        if error.status >= _SERVER_ERRORS or error.reason is Reason.RATE_LIMITED:
            return
        worth = Worth.PROVEN if proven else self._worth(request, call, error, body)
        names = self._source.kept_headers + _KEPT_HEADERS if worth > Worth.UNSIGNED else ()  # that one is only counted
        self._rejections.offer(
            Rejected(
                id=call.id,
                source=self._source.name,
                endpoint=self._source.endpoint or named_endpoint(request),
                reason=error.reason,
                trace_id=call.trace.trace_id,
                client=self._clients.of(request),
                headers={name: _kept(request.headers.getall(name)) for name in names if name in request.headers},
                body=body,
                worth=worth,
            )
        )

    def _worth(self, request: web.Request, call: Call, error: GatewayError, body: bytes | None) -> Worth:
        """The evidence in favour of a delivery that no live secret has signed."""
        if not self._source.signed(request.headers):
            return Worth.UNSIGNED
        if body is None or error.reason is Reason.TOKEN_WRONG:  # neither can ever be verified again
            return Worth.SIGNED
        try:
            self._source.translate(Arrival(call.id, call.trace.child().traceparent, None, body, request.headers))
        except GatewayError:
            return Worth.SIGNED
        return Worth.EVENT


RECEPTIONS: Final = web.AppKey("receptions", dict[str, Reception])
"""The receptions by the names of their routes."""


def named_endpoint(request: web.Request) -> str | None:
    """The endpoint that the path names; None for a plain path, and for a name that no endpoint can have."""
    name = request.match_info.get("endpoint", "")
    return name if is_slug(name) else None


async def receive(request: web.Request) -> web.Response:
    """Receive a webhook by the reception of its route."""
    return await request.app[RECEPTIONS][request.match_info.route.name or ""].receive(request)


def acknowledge(received: Received, recorded: Recorded) -> web.Response:
    answer = Acknowledged(
        received=True,
        id=recorded.event_id,
        duplicate=recorded.outcome == "duplicate",
        ignored=not received.handled,
        reason=received.ignored,
    )
    return web.Response(body=msgspec.json.encode(answer), headers=_JSON_HEADERS)


def _kept(values: Sequence[str]) -> str:
    """A header as it may be stored, without live secrets that were sent in the wrong place."""
    return storable(redacted(", ".join(values)))
