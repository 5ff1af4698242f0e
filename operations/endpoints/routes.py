"""The routes with which operators read and change endpoints."""

from http import HTTPStatus

from aiohttp import web

from gateway import bodies
from gateway.answers import answer, require
from gateway.errors import refusing
from gateway.keys import CALLER, PLACE, SETTINGS
from gateway.postgres import transaction
from operations.bodies import read_with_faults
from operations.endpoints import views
from operations.endpoints.registry import AddEndpointSecret, Changed, Name, PutEndpoint, Registry
from operations.errors import OperationError
from projections.endpoints import ENDPOINTS
from runtime.seals import Seals
from schemas.providers import providers


async def endpoints(request: web.Request) -> web.Response:
    """
    List the endpoints.

    Secrets are shown by their public ids only.
    """
    async with transaction(request) as connection:
        rows = await ENDPOINTS.read_all(connection)
    return answer(views.EndpointList([views.of_row(row, _registry(request).seals) for row in rows]))


async def endpoint(request: web.Request) -> web.Response:
    """
    Read one endpoint.

    Its secrets are shown by their public ids only.
    """
    name = _name(request)
    async with transaction(request) as connection:
        row = await ENDPOINTS.read(connection, name.place)
    found = views.of_row(require(row, "the provider has no endpoint of this id"), _registry(request).seals)
    request[PLACE] = name.place
    return answer(found)


async def put(request: web.Request) -> web.Response:
    """
    Add an endpoint of a provider, or change it.

    The body replaces label and mode, and the secrets if it has any. Every gateway applies the change within two seconds.
    A refusal names every fault of the id and the body.
    """
    body, faults = await read_with_faults(request, PutEndpoint)
    with refusing(OperationError):
        async with transaction(request) as connection:
            changed = await _registry(request).put(connection, _name(request), body, request[CALLER].secret_id, faults)
    return _answer(request, changed, HTTPStatus.CREATED if changed.was == "created" else HTTPStatus.OK)


async def remove(request: web.Request) -> web.Response:
    """
    Remove an endpoint.

    Its deliveries are refused as `endpoint_unknown` from then on, and kept like other refused ones. Earlier deliveries stay.
    """
    name = _name(request)
    with refusing(OperationError):
        async with transaction(request) as connection:
            await _registry(request).remove(connection, name)
    request[PLACE] = name.place
    return answer(views.EndpointRemoved(name.provider, name.id))


async def add_secret(request: web.Request) -> web.Response:
    """
    Add a secret to an endpoint, before the others.

    The older ones stay valid until they are dropped. A fresh secret is shown in this answer only, so the call takes no
    `Idempotency-Key`.
    """
    body = await bodies.read(request, AddEndpointSecret)
    with refusing(OperationError):
        async with transaction(request) as connection:
            changed = await _registry(request).add_secret(connection, _name(request), body.value, request[CALLER].secret_id)
    return _answer(request, changed, HTTPStatus.CREATED)


async def drop_secret(request: web.Request) -> web.Response:
    """
    Drop a secret of an endpoint.

    Events that are signed with it are refused within two seconds. `GET /v1/admin/secrets` shows whether it is still used.
    """
    with refusing(OperationError):
        async with transaction(request) as connection:
            secret_id, by = request.match_info["secretId"], request[CALLER].secret_id
            changed = await _registry(request).drop_secret(connection, _name(request), secret_id, by)
    return _answer(request, changed, HTTPStatus.OK)


def _answer(request: web.Request, changed: Changed, status: HTTPStatus) -> web.Response:
    request[PLACE] = changed.row.id
    return answer(views.of_change(changed), status)


def _name(request: web.Request) -> Name:
    return Name(request.match_info["provider"], request.match_info["id"])


def _registry(request: web.Request) -> Registry:
    """The registry for the current settings, whose keys may have changed since the start."""
    settings = request.app[SETTINGS].newest
    plain = {each.name: settings.webhook_secrets(each) for each in providers()}
    return Registry(Seals(settings.secret_keys), settings.own_secrets, plain)
