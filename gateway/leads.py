"""The command to deliver a lead now."""

from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from gateway import bodies, commands
from gateway.errors import GatewayError, Reason
from gateway.keys import CALL
from outbox.append import event_of
from schemas.leads import DELIVER, DeliverLead


class Attempted(msgspec.Struct, frozen=True):
    """The answer to a command to deliver: whether the CRM has the lead, and which attempt says so."""

    delivered: bool
    attempt: int


# What its worker says against a command, as a refusal.
_REFUSED: Final = {
    "lead_unknown": (Reason.NOT_FOUND, "no lead has this id"),
    "lead_erased": (Reason.NOT_FOUND, "this lead was erased"),
    "lead_of_another_partner": (Reason.FIELD_INVALID, "this lead is another partner's - at `$.partnerId`"),
}


async def deliver(request: web.Request) -> web.Response:
    """Have an attempt made now and say how it went; 202 where that takes too long or has failed."""
    command = await bodies.read(request, DeliverLead)
    event = event_of(
        command,
        aggregate_id=str(command.lead_id),
        source="/internal/leads",
        occurred_at=datetime.now(UTC),
        trace=request[CALL].trace,
    )
    task_id = await commands.record(request, DELIVER, event)
    task = await commands.settled(request, task_id)
    if task and task.reason in _REFUSED:
        raise GatewayError(*_REFUSED[task.reason])
    if task is None or task.result is None:
        return commands.accepted(task_id)
    return web.json_response(body=msgspec.json.encode(msgspec.convert(task.result, Attempted)))
