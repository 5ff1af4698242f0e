"""The routes that add, change and remove partners and rotate their secrets while all processes run."""

from http import HTTPStatus

from aiohttp import web
from psycopg import AsyncConnection

from gateway import bodies
from gateway.answers import answer, require
from gateway.errors import refusing
from gateway.keys import CALLER, SETTINGS
from gateway.postgres import transaction
from operations.bodies import read_with_faults
from operations.errors import OperationError
from operations.partners import views
from operations.partners.registry import PutPartner, Registry
from projections.partner_store import PARTNERS
from runtime.seals import Seals
from schemas.partners import key_of


async def partners(request: web.Request) -> web.Response:
    """
    List the partners, including those of the settings.

    Secrets are shown by their public ids only.
    """
    registry = registry_of(request)
    async with transaction(request) as connection:
        rows = await PARTNERS.read_all(connection)
    stored = {row.id for row in rows}
    found = [views.of_row(row, registry.seals) for row in rows if row.id not in registry.environment]
    found += [views.of_environment(key, each, shadows=key in stored) for key, each in registry.environment.items()]
    return answer(views.PartnerList(sorted(found, key=lambda partner: partner.id)))


async def partner(request: web.Request) -> web.Response:
    """
    Read one partner.

    Its secrets are shown by their public ids only.
    """
    async with transaction(request) as connection:
        found = await detail_of(connection, registry_of(request), key_of(request.match_info["id"]))
    return answer(require(found, "no partner has this id"))


async def detail_of(connection: AsyncConnection, registry: Registry, key: str) -> views.PartnerDetail | None:
    """Read the partner of this key from the settings or the database, whichever defines it."""
    row = await PARTNERS.read(connection, key)
    if (configured := registry.environment.get(key)) is not None:
        return views.of_environment(key, configured, shadows=row is not None)
    return views.of_row(row, registry.seals) if row else None


async def put(request: web.Request) -> web.Response:
    """
    Add a partner, or change its terms.

    The body replaces all terms and keeps the secrets. A new partner gets a secret that signs its leads, and one with a CRM also
    a secret that signs its deliveries; the answer shows them once. Every process applies the change within two seconds.
    A refusal lists every fault of the id and the body.
    """
    asked, faults = await read_with_faults(request, PutPartner)
    with refusing(OperationError):
        async with transaction(request) as connection:
            name, by = request.match_info["id"], request[CALLER].secret_id
            changed = await registry_of(request).put(connection, name, asked, by, faults)
    return answer(views.of_change(changed), HTTPStatus.CREATED if changed.was == "created" else HTTPStatus.OK)


async def remove(request: web.Request) -> web.Response:
    """
    Remove a partner.

    Its leads are refused from then on. Those that wait for its CRM fail, and become dead letters that can be retried once the
    partner is added again.
    """
    name = request.match_info["id"]
    with refusing(OperationError):
        async with transaction(request) as connection:
            await registry_of(request).remove(connection, name)
    return answer(views.PartnerRemoved(key_of(name)))


async def add_secret(request: web.Request) -> web.Response:
    """
    Add a secret to a partner, before the others of its kind.

    The older ones stay valid, and deliveries carry a signature of each, until they are dropped. A fresh secret is shown in this
    answer only, so the call takes no `Idempotency-Key`: if the answer was lost, add another secret and drop the unknown one.
    """
    asked = await bodies.read(request, views.AddSecret)
    with refusing(OperationError):
        async with transaction(request) as connection:
            name, by = request.match_info["id"], request[CALLER].secret_id
            changed = await registry_of(request).add_secret(connection, name, asked.kind, asked.value, by)
    return answer(views.of_change(changed), HTTPStatus.CREATED)


async def drop_secret(request: web.Request) -> web.Response:
    """
    Drop a secret of a partner.

    Leads that it proves, as a signature or as a token, are refused within two seconds: it is dropped from every kind that has it.
    `GET /v1/admin/secrets` shows whether it is still used.
    """
    with refusing(OperationError):
        async with transaction(request) as connection:
            name, by = request.match_info["id"], request[CALLER].secret_id
            changed = await registry_of(request).drop_secret(connection, name, request.match_info["secretId"], by)
    return answer(views.of_change(changed))


def registry_of(request: web.Request) -> Registry:
    """Return the registry for the present settings, whose keys may have changed since the start."""
    settings = request.app[SETTINGS].newest
    return Registry(Seals(settings.secret_keys), settings.partners, settings.outbound_allow, settings.own_secrets)
