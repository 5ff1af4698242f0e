"""The command to deliver a lead now."""

from datetime import datetime
from http import HTTPStatus
from typing import Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from aiohttp import web

from gateway import bodies
from gateway.answers import answer
from gateway.commands.acceptance import Command, answer_task, submit_and_wait
from gateway.errors import GatewayError, Reason
from gateway.keys import SETTINGS
from gateway.postgres import transaction
from outbox.tasks import Task
from projections.partners import Wait, WaitingFor, why_waiting
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


# The reasons for which the leads worker refuses a command.
_REFUSED: Final = {
    "lead_unknown": (Reason.NOT_FOUND, "no lead has this id"),
    "lead_erased": (Reason.NOT_FOUND, "this lead was erased"),
    "lead_of_another_partner": (Reason.FIELD_INVALID, "this lead is another partner's - at `$.partnerId`"),
}


class Outcome(NamedTuple):
    """The state of a command: its task once it is settled, else the reason why the lead waits, if it is known."""

    task_id: UUID
    task: Task | None
    wait: Wait | None = None


async def deliver(request: web.Request) -> web.Response:
    """
    Make one attempt to deliver a lead now.

    The gateway waits up to `COMMAND_WAIT` (5 s) for the attempt. If it takes longer, or the lead has to wait, the answer is
    202 and the task reports the result.
    """
    task_id, task, wait = await deliver_now(request, await bodies.read(request, DeliverLead))
    if task:
        return answer_task(task_id, task, Attempted)
    if wait:
        deferred = Deferred(task_id, accepted=True, reason=wait.reason, detail=wait.detail, until=wait.until)
    else:
        deferred = Deferred(task_id, accepted=True)
    return answer(deferred, HTTPStatus.ACCEPTED)


async def deliver_now(request: web.Request, command: DeliverLead) -> Outcome:
    """Submit the command and wait for its attempt. Raises GatewayError `not_found` or `field_invalid` if the worker refuses."""
    delivery = Command(DELIVER, command, "/internal/leads", key=str(command.lead_id))
    task_id, task = await submit_and_wait(request, delivery)
    if task and task.reason in _REFUSED:
        raise GatewayError(*_REFUSED[task.reason])
    return Outcome(task_id, task, None if task else await _wait_of(request, key_of(command.partner_id)))


async def _wait_of(request: web.Request, partner: str) -> Wait | None:
    try:
        async with transaction(request) as connection:
            return await why_waiting(connection, partner, request.app[SETTINGS].newest.partners)
    except GatewayError:  # the command is durable, even if the reason cannot be read
        return None
