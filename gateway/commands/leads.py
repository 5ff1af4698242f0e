"""The command to deliver a lead now."""

from datetime import datetime
from http import HTTPStatus
from typing import Final, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from gateway import bodies
from gateway.answers import answer
from gateway.commands.acceptance import Command, answer_task, give_and_wait
from gateway.errors import GatewayError, Reason
from gateway.postgres import transaction
from projections.partners import WaitingFor, why_waiting
from runtime.partners import key_of
from schemas.leads import DELIVER, DeliverLead


class Attempted(msgspec.Struct, frozen=True):
    """The answer to a command to deliver: whether the CRM has the lead, and which attempt says so."""

    delivered: bool
    attempt: int


class Deferred(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """
    The answer if no attempt has ended yet: `reason` is why the lead waits, if that is known, and `until` how long.

    `partner_paused` until an operator lets the partner's leads go, `breaker_open` until the next probe of its CRM.
    """

    task_id: UUID
    accepted: Literal[True]
    reason: WaitingFor | None = None
    detail: str | None = None
    until: datetime | None = None


# The reasons for which its worker refuses a command.
_REFUSED: Final = {
    "lead_unknown": (Reason.NOT_FOUND, "no lead has this id"),
    "lead_erased": (Reason.NOT_FOUND, "this lead was erased"),
    "lead_of_another_partner": (Reason.FIELD_INVALID, "this lead is another partner's - at `$.partnerId`"),
}


async def deliver(request: web.Request) -> web.Response:
    """Attempt the delivery now and answer with its outcome; 202 if that takes too long, with the reason for which it waits."""
    command = await bodies.read(request, DeliverLead)
    given = Command(DELIVER, command, "/internal/leads", key=str(command.lead_id))
    task_id, task = await give_and_wait(request, given)
    if task and task.reason in _REFUSED:
        raise GatewayError(*_REFUSED[task.reason])
    if task is None:
        return answer(await _deferred(request, task_id, key_of(command.partner_id)), HTTPStatus.ACCEPTED)
    return answer_task(task_id, task, Attempted)


async def _deferred(request: web.Request, task_id: UUID, partner: str) -> Deferred:
    try:
        async with transaction(request) as connection:
            wait = await why_waiting(connection, partner)
    except GatewayError:  # the command is durable, whatever can be told of it
        wait = None
    if wait is None:
        return Deferred(task_id, accepted=True)
    return Deferred(task_id, accepted=True, reason=wait.reason, detail=wait.detail, until=wait.until)
