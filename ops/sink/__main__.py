"""`python -m ops.sink SMTP_PORT WEB_PORT`: the sink's process, until it is asked to stop; on loopback, as all may come in."""

import asyncio
import sys

from aiohttp import web
from aiosmtpd.smtp import SMTP

from ops.sink.inbox import Inbox
from ops.sink.listeners import MailDoor, build_web
from runtime.addresses import LOOPBACK
from runtime.process import stop_signals


async def serve(smtp_port: int, web_port: int) -> None:
    """Take messages and show them until a signal stops it."""
    inbox, stop, loop = Inbox(), asyncio.Event(), asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(build_web(inbox))
    await runner.setup()
    smtp = await loop.create_server(
        lambda: SMTP(MailDoor(inbox), hostname="sink.tallyhook.local", loop=loop), LOOPBACK, smtp_port
    )
    await web.TCPSite(runner, LOOPBACK, web_port).start()
    await stop.wait()
    smtp.close()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
