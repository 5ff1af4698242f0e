"""The contacts of users: how each of them can be reached."""

from aiohttp import web

from gateway import bodies
from gateway.answers import answer, known
from gateway.errors import GatewayError, Reason
from gateway.postgres import transaction
from projections import contacts
from schemas.addresses import mailbox_of


async def put(request: web.Request) -> web.Response:
    """Store the contact in place of the earlier one: fields that the body leaves out are removed."""
    user_id = request.match_info["userId"]
    reach = await bodies.read(request, contacts.Reach)
    if reach.email is not None and mailbox_of(reach.email) is None:
        raise GatewayError(Reason.ADDRESS_INVALID, "no mailbox can have this address", ("email",))
    async with transaction(request) as connection:
        contact = await contacts.put(connection, user_id, reach)
    return answer(contact)


async def contact(request: web.Request) -> web.Response:
    """Show how a user can be reached, and over which channels not."""
    user_id = request.match_info["userId"]
    async with transaction(request) as connection:
        return answer(known(await contacts.read(connection, user_id), "no contact is known of this user"))
