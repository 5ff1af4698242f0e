"""The contacts of users: how each of them can be reached."""

from aiohttp import web

from gateway import bodies
from gateway.answers import answer, require
from gateway.errors import GatewayError, Reason
from gateway.postgres import transaction
from projections import contacts
from schemas.addresses import mailbox_of


async def put(request: web.Request) -> web.Response:
    """
    Set the contact of a user.

    The body replaces the whole contact: a field that is left out is deleted.
    """
    user_id = request.match_info["userId"]
    reach = await bodies.read(request, contacts.Reach)
    if reach.email is not None and mailbox_of(reach.email) is None:
        raise GatewayError(Reason.ADDRESS_INVALID, "no mailbox can have this address", ("email",))
    async with transaction(request) as connection:
        contact = await contacts.put(connection, user_id, reach)
    return answer(contact)


async def contact(request: web.Request) -> web.Response:
    """
    Read the contact of a user.

    Notifications to the user id are sent to these addresses, except over channels from which the user has opted out.
    """
    user_id = request.match_info["userId"]
    async with transaction(request) as connection:
        return answer(require(await contacts.read(connection, user_id), "this user has no contact"))
