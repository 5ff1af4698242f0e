"""`tallyhook endpoints test`: sends an event that no worker handles, once for each secret of an endpoint."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from operations.endpoints.command import app
from operations.endpoints.shell import Place, name_of, registry_of_settings
from operations.output import CommandError, Json, show, with_database
from runtime.excerpts import excerpt_of
from runtime.ids import new_id
from runtime.settings import environment
from schemas.providers import provider_of

if TYPE_CHECKING:
    from runtime.settings import Secret
    from schemas.providers import Provider

KIND: Final = "tallyhook.test"
"""The type of the event, which no provider uses: it is stored as `ignored`, and reaches no worker."""
_TIMEOUT: Final = 15.0  # seconds
_PORT: Final = "8080"


@app.command("test")
def try_endpoint(
    place: Place,
    url: Annotated[
        str,
        typer.Option(envvar="PUBLIC_URL", help="The address of the gateways, without a path; by default that on this machine."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Sign a test event with each secret of the endpoint, send it there as the provider would, and show the answers."""
    provider = provider_of(name_of(place).provider)
    secrets = _secrets(place)
    if provider is None or not secrets:
        raise CommandError(f"secret_invalid: {place} has no secret: `tallyhook endpoints add-secret` gives it one")
    base = url or f"http://127.0.0.1:{environment().get('PUBLIC_PORT', _PORT)}"
    address = f"{base.rstrip('/')}/v1/webhooks/{place}"
    tried = [_send(address, provider, secret) for secret in secrets]
    show({"url": address, "secrets": tried}, "\n".join([f"POST {address}", *map(_line, tried)]), as_json=as_json)
    if refused := [each["id"] for each in tried if each["status"] != 200]:  # noqa: PLR2004  # the status that a provider expects
        raise CommandError(f"endpoint_refuses: the event was not accepted with {', '.join(refused)}")


def request_of(provider: Provider, secret: Secret, now: int) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a test event: type, id and time are in the fields of each provider, and no money moves."""
    event_id = f"evt_tallyhook_test_{new_id().hex}"
    body = json.dumps(
        {"id": event_id, "object": "event", "type": KIND, "event": KIND, "created": now, "created_at": now, "livemode": False}
    ).encode()
    signed = f"{now}.".encode() + body if provider.signature.timed else body
    digest = hmac.new(secret.value.encode(), signed, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "User-Agent": "tallyhook endpoints test"}
    headers[provider.signature.header] = f"t={now},v1={digest}" if provider.signature.timed else digest
    return body, headers | ({provider.event_id_header: event_id} if provider.event_id_header else {})


def _secrets(place: str) -> tuple[Secret, ...]:
    """Read the endpoint's secrets, newest first. Raises CommandError."""
    from projections.endpoints import ENDPOINTS
    from runtime.seals import SealError

    row = with_database(lambda connection: ENDPOINTS.read(connection, name_of(place).place))
    if row is None:
        raise CommandError(f"not_found: there is no endpoint {place}")
    try:
        return tuple(kept.secret for kept in ENDPOINTS.open(row, registry_of_settings().seals).signing)
    except SealError as error:
        raise CommandError(f"seal_unreadable: {place}: {error}") from error


def _send(address: str, provider: Provider, secret: Secret) -> dict[str, Any]:
    import requests

    body, headers = request_of(provider, secret, int(time.time()))
    sent = {"id": secret.id, "headers": headers, "body": body.decode()}
    try:
        answer = requests.post(address, data=body, headers=headers, timeout=_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        return sent | {"status": None, "answer": type(error).__name__}
    return sent | {"status": answer.status_code, "answer": excerpt_of(answer.text)}


def _line(tried: dict[str, Any]) -> str:
    return f"{tried['id']}  {tried['status'] or 'no answer'}  {tried['answer']}"
