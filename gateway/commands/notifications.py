"""The command that sends a notification."""

from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final, get_args
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway import bodies
from gateway.answers import answer
from gateway.commands.acceptance import Command, give
from gateway.errors import GatewayError, Reason
from schemas.addresses import PATTERN as MAILBOX
from schemas.addresses import mailbox_of
from schemas.operations import Channel, SendNotification
from schemas.rules import Json, by_case, never
from schemas.templates import TEMPLATES, TemplateError, check, fields_of, schema_of
from schemas.text import ADDRESS, Email, Recipient, accepts

SOURCE: Final = "/internal/notifications"


class Send(msgspec.Struct, frozen=True):
    """`to` is a user id or a contact (an address, a number, a device's token); `data` is what the template needs."""

    to: Recipient
    channel: Annotated[str, Meta(extra_json_schema={"enum": list(get_args(Channel))})]
    template: Annotated[str, Meta(extra_json_schema={"enum": list(TEMPLATES)})]
    data: dict[str, Any]

    rules: ClassVar[Json] = never(
        {
            "type": "object",
            "properties": {
                "channel": {"const": "EMAIL"},
                "to": {"type": "string", "maxLength": 254, "pattern": ADDRESS, "not": {"pattern": MAILBOX}},
            },
            "required": ["channel", "to"],
        },
        otherwise=by_case("template", (({"const": each.code}, {"data": schema_of(each)}) for each in TEMPLATES.values())),
    )


class Enqueued(msgspec.Struct, frozen=True):
    """It is written down; `id` is the notification's, and its task's."""

    id: UUID
    enqueued: bool = True


async def send(request: web.Request) -> web.Response:
    """Accept the command if its template and its data allow to send it; its task has the outcome."""
    command = command_of(await bodies.read(request, Send))
    return answer(Enqueued(await give(request, Command("notification.send", command, SOURCE))), HTTPStatus.ACCEPTED)


def command_of(asked: Send) -> SendNotification:
    """
    The command, with the data that its template declares and no other.

    Raises GatewayError: `channel_unknown`, `address_invalid`, `template_unknown`, `template_channel_unknown`, or
    `data_missing` and `data_invalid` with the list of the fields at fault.
    """
    if asked.channel not in get_args(Channel):
        raise GatewayError(Reason.CHANNEL_UNKNOWN, f"channel is one of {', '.join(get_args(Channel))}")
    channel: Channel = msgspec.convert(asked.channel, Channel)
    if channel == "EMAIL" and accepts(Email, asked.to) and mailbox_of(asked.to) is None:
        raise GatewayError(Reason.ADDRESS_INVALID, "no mailbox can have this address", ("to",))
    try:
        template = check(asked.template, channel, asked.data)
    except TemplateError as error:
        raise GatewayError(Reason(error.reason), str(error), error.fields) from error
    data = {name: value for name, value in fields_of(template, asked.data).items() if value is not None}
    return SendNotification(to=asked.to, channel=channel, template=template.code, data=data)
