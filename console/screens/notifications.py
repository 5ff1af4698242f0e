"""Messages to people: their states, their texts, and the templates with a preview."""

from collections.abc import Mapping
from typing import Any, Final, get_args
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web

from console.frames import frame
from console.links import page_of
from console.listing import list_page, of_state
from console.pages import SESSION, Screen, page
from gateway.answers import require
from gateway.errors import GatewayError, Reason
from gateway.masking import MASK
from gateway.paging import id_of
from gateway.postgres import reading
from operations.errors import OperationError
from operations.messages.rendering import of_contents, render, sample_of
from operations.state.query import NotificationsQuery
from projections import contacts, lists, notifications
from schemas.operations import Channel
from schemas.templates import TEMPLATES, Template
from schemas.text import Id, LocaleTag, accepts
from streams.notifications.texts import Text

_ABSENT: Final = "no notification has this id, or its command is not handled yet"
_LAMPS: Final[Mapping[str, str]] = {"sent": "none", "failed": "much"}


async def listed(request: web.Request) -> web.Response:
    """Show the messages, newest first."""
    shared: dict[str, Any] = {"lamps": _LAMPS, "page_of": page_of, "mask": MASK}
    return await list_page(request, "notifications.html", NotificationsQuery, of_state(lists.NOTIFICATIONS), **shared)


async def one(request: web.Request) -> web.Response:
    """Show a message: its state, attempts, events and text."""
    asked = id_of(request.match_info["id"], "notification")
    async with reading(request) as connection:
        found = require(await notifications.notification(connection, asked), _ABSENT)
    text, complaint = None, ""
    if request[SESSION].changes:
        try:
            text = await _text_of(request, asked)
        except OperationError as error:
            complaint = str(error)
    shown: dict[str, Any] = {"state": found, "text": text, "complaint": complaint}
    return page(request, "notification.html", **shown, lamps=_LAMPS, page_of=page_of, mask=MASK)


async def one_in_frame(request: web.Request) -> web.Response:
    """Show the HTML of a mail, if the session may see messages."""
    asked = id_of(request.match_info["id"], "notification")
    if not request[SESSION].changes:
        raise GatewayError(Reason.TOKEN_READ_ONLY, "Messages are not shown to a session that only reads.")
    try:
        text = await _text_of(request, asked)
    except OperationError as error:
        raise GatewayError(Reason.NOT_FOUND, str(error)) from error
    return frame(require(text.html, "this message has no HTML"))


async def contact(request: web.Request) -> web.Response:
    """Show the addresses of a user, if the session may see them, and the channels that the user has opted out of."""
    user, absent = request.match_info["id"], "this user has no contact"
    async with reading(request) as connection:
        found = require(await contacts.read(connection, require(user if accepts(Id, user) else None, absent)), absent)
    return page(request, "notification_contact.html", contact=found, mask=MASK)


async def templates(request: web.Request) -> web.Response:
    """Show every template with its fields."""
    return page(request, "notification_templates.html", templates=TEMPLATES.values())


async def preview(request: web.Request) -> web.Response:
    """Show a template with sample data, or with the data of the address."""
    template = _template_of(request)
    channel, data = _channel_of(request, template), _data_of(request, template)
    text, complaint = None, ""
    try:
        text = render(template.code, channel, data, _locale_of(request))
    except OperationError as error:
        complaint = str(error)
    shown: dict[str, Any] = {"tried": template, "channel": channel, "data": data, "locale": request.query.get("locale", "")}
    return page(
        request,
        "notification_template.html",
        **shown,
        text=text,
        complaint=complaint,
        query=urlencode(list(request.query.items())),
    )


async def preview_in_frame(request: web.Request) -> web.Response:
    """Show the HTML of a mail of the template."""
    template = _template_of(request)
    try:
        text = render(template.code, "EMAIL", _data_of(request, template), _locale_of(request))
    except OperationError as error:
        raise GatewayError(Reason.NOT_FOUND, str(error)) from error
    return frame(require(text.html, "this message has no HTML"))


async def _text_of(request: web.Request, notification_id: UUID) -> Text:
    """Render a stored message. Raises GatewayError `not_found`, OperationError `message_unreadable`."""
    async with reading(request) as connection:
        contents = require(await notifications.contents(connection, notification_id), _ABSENT)
    return of_contents(contents)


def _template_of(request: web.Request) -> Template:
    return require(TEMPLATES.get(request.match_info["code"]), "there is no such template")


def _channel_of(request: web.Request, template: Template) -> Channel:
    """Return the requested channel, or the first one of the template if none or an unknown one is requested."""
    asked: list[Channel] = [channel for channel in get_args(Channel) if channel == request.query.get("channel")]
    return (*asked, *template.channels)[0]


def _locale_of(request: web.Request) -> str | None:
    tag = request.query.get("locale", "")
    return tag if accepts(LocaleTag, tag) else None


def _data_of(request: web.Request, template: Template) -> dict[str, Any]:
    """Return the sample data, replaced by given values; an invalid number stays a text."""
    kinds = {**template.data, **template.optional}
    data: dict[str, Any] = {}
    for name, sample in sample_of(template).items():
        text = request.query.get(name, str(sample))
        data[name] = int(text) if kinds[name] is int and _is_whole(text) else text
    return data


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 20  # noqa: PLR2004  # digits of 64 bits


SCREEN: Final = Screen(
    "Notifications",
    "/console/notifications",
    (
        web.get("/notifications", listed, name="console_notifications"),
        web.get("/notifications/templates", templates, name="console_notification_templates"),
        web.get("/notifications/templates/{code}", preview, name="console_notification_template"),
        web.get("/notifications/templates/{code}/page", preview_in_frame, name="console_notification_template_page"),
        web.get("/notifications/contacts/{id}", contact, name="console_contact"),
        web.get("/notifications/{id}", one, name="console_notification"),
        web.get("/notifications/{id}/page", one_in_frame, name="console_notification_page"),
    ),
)
