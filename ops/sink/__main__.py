"""`python -m ops.sink SMTP_PORT WEB_PORT`: the sink, until a stop signal; on the loopback, as it admits everybody."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from html import escape
from typing import Final, Literal

import msgspec
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from ops.sink.inbox import Arrived, Inbox, of_hook, of_mail
from runtime.addresses import LOOPBACK
from runtime.process import stop_signals

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<title>Messages</title>
<style>body {{ font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto }} pre {{ white-space: pre-wrap }}
article {{ border-top: 1px solid #ccc; padding: 1em 0 }} small {{ color: #666 }}</style>
<h1>{number} messages</h1>
{articles}
</html>
"""
_ARTICLE: Final = "<article><small>{channel} to {to} at {at} {id}</small><h2>{subject}</h2><pre>{text}</pre></article>"


class MailHandler:
    """Accepts every mail."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        content = envelope.content or b""
        self._inbox.add(of_mail(content if isinstance(content, bytes) else content.encode(), list(envelope.rcpt_tos)))
        return "250 taken"


def build_web(inbox: Inbox) -> web.Application:
    """Web hooks for SMS, PUSH and partners' CRMs, and the messages: JSON, or a page for a browser; `?to=` selects a recipient."""

    async def shown(request: web.Request) -> web.Response:
        messages = inbox.messages(request.query.get("to"))
        if "text/html" in request.headers.get("Accept", ""):
            return web.Response(text=page_of(messages), content_type="text/html")
        return web.json_response(body=msgspec.json.encode({"items": messages, "total": inbox.total}))

    async def delivered(request: web.Request) -> web.Response:
        """Accept a lead, as the CRM of a partner does."""
        text, to, number = await request.text(), [request.match_info["partner"]], request.headers.get("webhook-id")
        inbox.add(Arrived(channel="CRM", to=to, text=text, message_id=number, received_at=datetime.now(UTC)))
        return web.Response(status=204)

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"ready": True})

    app = web.Application()
    app.router.add_get("/", shown)
    app.router.add_get("/health/ready", ready)
    app.router.add_post("/sms", _hook(inbox, "SMS"))
    app.router.add_post("/push", _hook(inbox, "PUSH"))
    app.router.add_post("/crm/{partner}", delivered)
    return app


def page_of(messages: list[Arrived]) -> str:
    articles = "\n".join(
        _ARTICLE.format(
            channel=each.channel,
            to=escape(", ".join(each.to)),
            at=f"{each.received_at:%H:%M:%S}",
            id=escape(each.message_id or ""),
            subject=escape(each.subject or ""),
            text=escape(each.text),
        )
        for each in messages
    )
    return _PAGE.format(number=len(messages), articles=articles)


def _hook(inbox: Inbox, channel: Literal["SMS", "PUSH"]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def take(request: web.Request) -> web.Response:
        try:
            inbox.add(of_hook(channel, await request.read()))
        except msgspec.DecodeError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.Response(status=204)

    return take


async def serve(smtp_port: int, web_port: int) -> None:
    """Accept messages and show them until a signal stops it."""
    inbox, stop, loop = Inbox(), asyncio.Event(), asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(build_web(inbox))
    await runner.setup()
    smtp = await loop.create_server(
        lambda: SMTP(MailHandler(inbox), hostname="sink.tallyhook.local", loop=loop), LOOPBACK, smtp_port
    )
    await web.TCPSite(runner, LOOPBACK, web_port).start()
    await stop.wait()
    smtp.close()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
