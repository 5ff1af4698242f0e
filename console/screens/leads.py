"""Leads of partners: lists by partner and state, and one lead with its attempts, which can be delivered now."""

from typing import Final

from aiohttp import web

from console.links import page_of
from console.listing import list_page, of_state
from console.pages import SESSION, Screen, page
from gateway.answers import require
from gateway.commands.leads import deliver_now
from gateway.paging import id_of
from gateway.postgres import reading
from operations.state.query import LeadsQuery
from operations.topology.routes import SURVEY
from projections import leads as store
from projections import lists
from schemas.leads import DeliverLead

_ABSENT: Final = "no lead has this id, or it was erased"


async def leads(request: web.Request) -> web.Response:
    """Show the page, with the filters of its address."""
    return await _list(request, "leads.html")


async def rows(request: web.Request) -> web.Response:
    """Show only the rows, as they are now."""
    return await _list(request, "_leads.html")


async def lead(request: web.Request) -> web.Response:
    """Show one lead."""
    return await _lead(request, "lead.html")


async def state(request: web.Request) -> web.Response:
    """Show its state and its attempts as they are now."""
    return await _lead(request, "_lead.html")


async def payload(request: web.Request) -> web.Response:
    """Show the payload that the partner sent, if the session may see bodies."""
    if not request[SESSION].changes:
        return page(request, "_body.html", body=None)
    return page(request, "_body.html", body=bytes((await _read(request)).payload))


async def deliver(request: web.Request) -> web.Response:
    """Make one attempt now, and show its outcome."""
    found = await _read(request)
    outcome = await deliver_now(request, DeliverLead(lead_id=found.id, partner_id=found.partner_id))
    kafka = None if outcome.task or outcome.wait else (await request.app[SURVEY].now()).kafka
    return page(request, "_lead_delivered.html", outcome=outcome, kafka=kafka)


async def _list(request: web.Request, template: str) -> web.Response:
    return await list_page(request, template, LeadsQuery, of_state(lists.LEADS), page_of=page_of)


async def _lead(request: web.Request, template: str) -> web.Response:
    return page(request, template, lead=await _read(request), page_of=page_of)


async def _read(request: web.Request) -> store.LeadView:
    """Read the lead of the path. Raises GatewayError `not_found`."""
    asked = id_of(request.match_info["id"], "lead")
    async with reading(request) as connection:
        return require(await store.lead(connection, str(asked)), _ABSENT)


SCREEN: Final = Screen(
    "Leads",
    "/console/leads",
    (
        web.get("/leads", leads, name="console_leads"),
        web.get("/leads/rows", rows, name="console_leads_rows"),
        web.get("/leads/{id}", lead, name="console_lead"),
        web.get("/leads/{id}/state", state, name="console_lead_state"),
        web.get("/leads/{id}/payload", payload, name="console_lead_payload"),
        web.post("/leads/{id}/deliver", deliver, name="console_lead_deliver"),
    ),
)
