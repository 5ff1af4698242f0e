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
from gateway.keys import SETTINGS
from gateway.postgres import transaction
from projections.partners import WaitingFor, why_waiting
from schemas.leads import DELIVER, DeliverLead
from schemas.partners import key_of


class Attempted(msgspec.Struct, frozen=True):
    """The attempt has ended."""

    delivered: bool  #: True if the partner's CRM accepted the lead.
    attempt: int  #: The number of the attempt, counted from 1.


class Deferred(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """
    The command is durable, but no attempt has ended yet; poll `GET /internal/v1/tasks/{taskId}` for its result.

    `reason` is `partner_paused` until an operator resumes the partner, or `breaker_open` until the next probe of its CRM.
    """

    task_id: UUID  #: The id of the command's task.
    accepted: Literal[True]  #: Always true.
    reason: WaitingFor | None = None  #: Why the lead waits; absent if unknown.
    detail: str | None = None  #: The reason in words.
    until: datetime | None = None  #: When the lead is due again; absent if unknown.


# The reasons for which its worker refuses a command.
_REFUSED: Final = {
    "lead_unknown": (Reason.NOT_FOUND, "no lead has this id"),
    "lead_erased": (Reason.NOT_FOUND, "this lead was erased"),
    "lead_of_another_partner": (Reason.FIELD_INVALID, "this lead is another partner's - at `$.partnerId`"),
}


async def deliver(request: web.Request) -> web.Response:
    """
    Make one attempt to deliver a lead now.

    The gateway waits up to `COMMAND_WAIT` (5 s) for the attempt. If it takes longer, or the lead has to wait, the answer is
    202 and the task reports the result.
    """
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
            wait = await why_waiting(connection, partner, request.app[SETTINGS].newest.partners)
    except GatewayError:  # the command is durable, whatever can be told of it
        wait = None
    if wait is None:
        return Deferred(task_id, accepted=True)
    return Deferred(task_id, accepted=True, reason=wait.reason, detail=wait.detail, until=wait.until)
