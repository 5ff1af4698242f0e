"""The command that sends a notification."""

from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final, get_args
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway import bodies
from gateway.answers import answer
from gateway.commands.acceptance import Command, submit
from gateway.errors import GatewayError, Reason
from schemas.addresses import PATTERN as MAILBOX
from schemas.addresses import mailbox_of
from schemas.operations import Channel, SendNotification
from schemas.rules import Json, by_case, never
from schemas.templates import TEMPLATES, TemplateError, check, fields_of, schema_of
from schemas.text import ADDRESS, Email, Recipient, accepts

SOURCE: Final = "/internal/notifications"


class Send(msgspec.Struct, frozen=True):
    """A notification to send to a user or to an address."""

    to: Recipient  #: A user id, or an address of the channel (a mail address, a telephone number, a device token).
    channel: Annotated[str, Meta(extra_json_schema={"enum": list(get_args(Channel))})]  #: The channel to send over.
    template: Annotated[str, Meta(extra_json_schema={"enum": list(TEMPLATES)})]  #: The code of the template.
    data: dict[str, Any]  #: The variables that the template requires.

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
    """The command is durable; poll `GET /internal/v1/tasks/{taskId}` with `id` for its result."""

    id: UUID  #: The id of the notification and of its task.
    enqueued: bool = True  #: Always true.


async def send(request: web.Request) -> web.Response:
    """
    Send a notification.

    The gateway checks the template's variables before it commits the command. The notifications worker sends the message
    later and publishes the outcome on `notification.events`.
    """
    command = command_of(await bodies.read(request, Send))
    return answer(Enqueued(await submit(request, Command("notification.send", command, SOURCE))), HTTPStatus.ACCEPTED)


def command_of(body: Send) -> SendNotification:
    """
    The command, with only the data that its template declares.

    Raises GatewayError: `channel_unknown`, `address_invalid`, `template_unknown`, `template_channel_unknown`, or
    `data_missing` and `data_invalid` with the list of the fields at fault.
    """
    if body.channel not in get_args(Channel):
        raise GatewayError(Reason.CHANNEL_UNKNOWN, f"channel is one of {', '.join(get_args(Channel))}")
    channel: Channel = msgspec.convert(body.channel, Channel)
    if channel == "EMAIL" and accepts(Email, body.to) and mailbox_of(body.to) is None:
        raise GatewayError(Reason.ADDRESS_INVALID, "no mailbox can have this address", ("to",))
    try:
        template = check(body.template, channel, body.data)
    except TemplateError as error:
        raise GatewayError.of(error.reason, str(error), error.fields) from error
    data = {name: value for name, value in fields_of(template, body.data).items() if value is not None}
    return SendNotification(to=body.to, channel=channel, template=template.code, data=data)
