"""A mail server's refusal ends a mail for good only if it is about that mail or its recipient."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from runtime.addresses import LOOPBACK
from streams.notifications.mails import Message
from streams.notifications.senders import SendFailed, sender_of
from streams.notifications.texts import Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TAKES: dict[str, str] = {
    "greeting": "220 here",
    "EHLO": "250-here\r\n250 STARTTLS",
    "HELO": "250 here",
    "STARTTLS": "220 go ahead",
    "MAIL": "250 OK",
    "RCPT": "250 OK",
    "DATA": "354 go ahead",
    ".": "250 taken",
}
MESSAGE = Message("<1@tallyhook.local>", "jane@example.com", Text("Text", "Subject"))


@asynccontextmanager
async def scripted(changes: dict[str, str], slow: str = "", seconds: float = 0.0) -> AsyncIterator[int]:
    """Run a server that answers each command with a line, the `slow` one after these seconds, and yield its port."""
    lines, writers = TAKES | changes, list[asyncio.StreamWriter]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(f"{lines['greeting']}\r\n".encode())
        in_mail = False
        async for line in reader:
            word = line.decode().split(":")[0].split()
            command = word[0] if word else ""
            if in_mail and command != ".":
                continue
            answer = lines.get(command, "250 OK")
            in_mail = command == "DATA" and answer.startswith("354")
            await asyncio.sleep(seconds if command == slow else 0.0)
            writer.write(f"{answer}\r\n".encode())

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("changes", "reason", "permanent"),
    [
        ({"greeting": "554 no service here"}, "smtp_unavailable", False),
        ({"greeting": "521 no mail here"}, "smtp_unavailable", False),
        ({"EHLO": "550 who are you", "HELO": "550 who are you"}, "smtp_unavailable", False),
        ({"MAIL": "550 not from you"}, "smtp_login_refused", False),
        ({"MAIL": "421 4.7.0 too many connections"}, "message_refused", False),
        ({"MAIL": "451 4.7.1 greylisted"}, "message_refused", False),
        ({"MAIL": "552 5.3.4 message size exceeds fixed limit"}, "message_refused", True),
        ({"MAIL": "552 5.2.2 sender over quota"}, "smtp_login_refused", False),
        ({"MAIL": "503 5.5.1 AUTH first"}, "smtp_login_refused", False),
        ({"RCPT": "550 no such user"}, "recipient_refused", True),
        ({"RCPT": "550 5.1.1 <jane@example.com>: User unknown in relay recipient table"}, "recipient_refused", True),
        ({"RCPT": "451 later"}, "recipient_refused", False),
        ({"RCPT": "530 Must issue a STARTTLS command first"}, "smtp_login_refused", False),
        ({"RCPT": "530 5.7.0 Authentication required"}, "smtp_login_refused", False),
        ({"RCPT": "535 5.7.8 bad credentials"}, "smtp_login_refused", False),
        ({"RCPT": "538 encryption required"}, "smtp_login_refused", False),
        ({"RCPT": "503 AUTH first"}, "smtp_login_refused", False),
        ({"RCPT": "534 5.7.9 mechanism too weak"}, "smtp_login_refused", False),
        ({"RCPT": "550 5.7.1 Unable to relay"}, "smtp_login_refused", False),
        ({"RCPT": "550 relay not permitted, authentication required"}, "smtp_login_refused", False),
        ({"RCPT": "553 5.7.1 Please authenticate first"}, "smtp_login_refused", False),
        ({"RCPT": "554 5.7.1 <jane@example.com>: Relay access denied"}, "smtp_login_refused", False),
        ({"RCPT": "556 5.1.10 domain takes no mail"}, "recipient_refused", True),
        ({"RCPT": "999 no such code"}, "recipient_refused", False),
        ({"DATA": "250 OK"}, "message_refused", False),
        ({"DATA": "503 5.5.1 RCPT first"}, "smtp_login_refused", False),
        ({"DATA": "530 5.7.0 Authentication required"}, "smtp_login_refused", False),
        ({"DATA": "554 no"}, "message_refused", True),
        ({".": "554 this is spam"}, "message_refused", True),
        ({".": "452 disk full"}, "message_refused", False),
        ({".": "354 go ahead"}, "message_refused", False),
    ],
    ids=str,
)
async def test_only_an_answer_about_the_mail_or_its_recipient_is_permanent(
    changes: dict[str, str], reason: str, permanent: bool
) -> None:
    async with scripted(changes) as port:
        url = f"mailto://{LOOPBACK}:{port}/?from=shop@example.com"
        await refused(url, next(iter(changes.values())), reason, permanent=permanent)


async def test_the_name_of_a_recipient_is_no_word_about_relaying() -> None:
    line = "550 <jane@relay.example.com>: no such user"
    async with scripted({"RCPT": line}) as port:
        url, to = f"mailto://{LOOPBACK}:{port}/?from=shop@example.com", MESSAGE._replace(address="jane@relay.example.com")
        await refused(url, line, "recipient_refused", permanent=True, message=to)


@pytest.mark.parametrize(
    "changes", [{"MAIL": "220 OK"}, {"RCPT": "251 forwarded"}, {"RCPT": "252 tries it"}, {".": "200 taken"}, {".": "251 sent on"}]
)
async def test_any_success_is_one(changes: dict[str, str]) -> None:
    """After the end of a mail every code but 250 was a refusal, so that the server got the mail again at each attempt."""
    async with scripted(changes) as port:
        sender = sender_of(f"mailto://{LOOPBACK}:{port}/?from=shop@example.com", seconds=10, threads=1)
        await sender.send(MESSAGE)
        sender.close()


async def test_a_server_may_take_its_time_over_a_mail_that_it_has() -> None:
    """It got the mail again at each attempt: most servers scan a mail before they answer it."""
    async with scripted({}, slow=".", seconds=3) as port:
        sender = sender_of(f"mailto://{LOOPBACK}:{port}/?from=shop@example.com", seconds=2, threads=1)
        await sender.send(MESSAGE)
        sender.close()


@pytest.mark.parametrize("slow", ["EHLO", "MAIL", "RCPT", "DATA"])
async def test_a_server_that_takes_too_long_before_the_mail_is_away(slow: str) -> None:
    async with scripted({}, slow=slow, seconds=1.5) as port:
        sender = sender_of(f"mailto://{LOOPBACK}:{port}/?from=shop@example.com", seconds=0.5, threads=1)
        with pytest.raises(SendFailed) as failed:
            await sender.send(MESSAGE)
        sender.close()
        assert (failed.value.reason, failed.value.permanent) == ("smtp_unavailable", False)


@pytest.mark.parametrize("line", ["454 not now", "502 no such command", "554 no"])
async def test_a_refused_starttls_is_a_server_that_is_away(line: str) -> None:
    async with scripted({"STARTTLS": line}) as port:
        url = f"mailtos://{LOOPBACK}:{port}/?from=shop@example.com&mode=starttls"
        await refused(url, line, "smtp_unavailable", permanent=False)


async def test_a_server_that_knows_only_helo_takes_the_mail() -> None:
    async with scripted({"EHLO": "502 no such command"}) as port:
        sender = sender_of(f"mailto://{LOOPBACK}:{port}/?from=shop@example.com", seconds=10, threads=1)
        await sender.send(MESSAGE)
        sender.close()


async def refused(url: str, line: str, reason: str, *, permanent: bool, message: Message = MESSAGE) -> None:
    sender = sender_of(url, seconds=10, threads=1)
    with pytest.raises(SendFailed) as failed:
        await sender.send(message)
    sender.close()
    assert (failed.value.reason, failed.value.permanent) == (reason, permanent)
    assert line.split(" ", 1)[1] in str(failed.value)
