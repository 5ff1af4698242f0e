"""A mail that has been handed over is not sent again: an attempt that is over ends before that."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtplib import SMTPTimeoutError

from streams.notifications.connections import Connections


class Late:
    """A client whose answer to DATA meets the end of the attempt: Python 3.11's `wait_for` then returns the answer."""

    is_connected, is_ehlo_or_helo_needed = True, False

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.written = list[bytes]()
        self.protocol = SimpleNamespace(write=self.written.append, read_response=self.done)

    async def done(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(code=250, message="OK")

    connect = mail = rcpt = done

    def supports_extension(self, _: str) -> bool:
        return False

    def get_transport_info(self, _: str) -> None:
        return None

    async def execute_command(self, *_: bytes) -> Any:
        self.waiting.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return SimpleNamespace(code=354, message="go ahead")

    def close(self) -> None:
        pass


async def test_an_attempt_whose_time_is_over_hands_no_mail_over() -> None:
    client: Any = Late()
    with pytest.raises(SMTPTimeoutError):
        await Connections(lambda: client, 0.05).send(b"mail", "shop@example.com", "jane@example.com")
    assert client.written == []


async def test_an_attempt_of_a_worker_that_stops_hands_no_mail_over() -> None:
    client: Any = Late()
    attempt = asyncio.create_task(Connections(lambda: client, 30).send(b"mail", "shop@example.com", "jane@example.com"))
    await client.waiting.wait()
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert client.written == []
