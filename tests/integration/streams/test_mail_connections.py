"""Connections to a real mail server: shared by mails, closed with the server; no mail is lost or repeated because of one."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import TYPE_CHECKING

import pytest
import trustme

from streams.notifications import connections
from streams.notifications.mails import Message
from streams.notifications.senders import SendFailed, SendReason, sender_of
from streams.notifications.texts import Text
from tests.mail import mail_server
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streams.notifications.senders import Sender
    from tests.mail import MailServer


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


@pytest.fixture
async def sender(server: MailServer) -> Sender:
    return sender_of(server.url, seconds=20, threads=1)


def message(number: int, address: str = "jane@example.com") -> Message:
    return Message(f"<{number}@tallyhook.local>", address, Text(f"Text {number}", f"Subject {number}", "<p>Text</p>"))


def connections_of(server: MailServer) -> list[int]:
    """Return the number of mails over each connection."""
    return [server.connections.count(each) for each in dict.fromkeys(server.connections)]


async def test_mails_follow_each_other_over_one_connection(server: MailServer, sender: Sender) -> None:
    for number in range(3):
        await sender.send(message(number, f"user{number}@example.com"))
    assert connections_of(server) == [3]
    assert [mail.recipients for mail in server.mails] == [[f"user{number}@example.com"] for number in range(3)]
    assert set(server.ids.values()) == {1}
    sender.close()


async def test_the_system_notices_a_host_that_is_gone_while_it_has_a_mail(sender: Sender) -> None:
    """The answer may take ten minutes, for which nobody should wait in vain."""
    await sender.send(message(1))
    connection = sender._connections._idle[0].client.get_transport_info("socket")  # type: ignore[attr-defined]
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    if sys.platform == "linux":
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        assert [connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names] == [15, 5, 3]
    sender.close()


async def test_a_line_that_begins_with_a_dot_ends_no_mail(server: MailServer, sender: Sender) -> None:
    body = "first\n.\n..two\n.three\n\n."
    await sender.send(message(1)._replace(text=Text(body, "Subject")))
    await sender.send(message(2))
    assert [mail.text.splitlines() for mail in server.mails] == [body.splitlines(), ["Text 2"]]
    sender.close()


async def test_mails_at_once_have_a_connection_each_which_serve_the_next_ones(server: MailServer, sender: Sender) -> None:
    for begin in (0, 4):
        await asyncio.gather(*(sender.send(message(begin + number)) for number in range(4)))
    assert connections_of(server) == [2, 2, 2, 2]
    assert set(server.ids.values()) == {1}
    sender.close()


async def test_a_refused_recipient_leaves_the_connection_to_the_next_mail(server: MailServer, sender: Sender) -> None:
    server.refuse = lambda address: "550 unknown" if address.startswith("nobody") else None
    await sender.send(message(1))
    with pytest.raises(SendFailed) as refused:
        await sender.send(message(2, "nobody@example.com"))
    assert (refused.value.reason, refused.value.permanent) == (SendReason.RECIPIENT_REFUSED, True)
    await sender.send(message(3))
    assert (connections_of(server), [*server.ids]) == ([2], ["<1@tallyhook.local>", "<3@tallyhook.local>"])
    sender.close()


async def test_a_server_that_was_restarted_gets_the_next_mail_at_once(server: MailServer, sender: Sender) -> None:
    await sender.send(message(1))
    server.stop()
    with pytest.raises(SendFailed) as failed:
        await sender.send(message(2))
    assert (failed.value.reason, failed.value.permanent) == (SendReason.SMTP_UNAVAILABLE, False)
    server.listen()
    await sender.send(message(2))
    server.stop()
    server.listen()
    await sender.send(message(3))
    assert [*server.ids.items()] == [(f"<{number}@tallyhook.local>", 1) for number in (1, 2, 3)]
    assert connections_of(server) == [1, 1, 1]
    sender.close()


async def test_a_connection_carries_so_many_mails_and_no_more(
    server: MailServer, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MAILS", 2)
    for number in range(5):
        await sender.send(message(number))
    assert connections_of(server) == [2, 2, 1]
    sender.close()


async def test_an_idle_connection_is_closed(server: MailServer, sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_IDLE", 0.05)
    await sender.send(message(1))
    [connection] = server.connections

    async def closed() -> bool | None:
        return connection.transport is None or None

    assert await eventually(closed)
    await sender.send(message(2))
    assert connections_of(server) == [1, 1]
    sender.close()


async def test_a_mail_that_is_cut_off_takes_its_connection_along(server: MailServer, sender: Sender) -> None:
    await sender.send(message(1))
    server.answers.clear()
    cut = asyncio.create_task(sender.send(message(2)))

    async def arrived() -> bool | None:
        return len(server.mails) == 2 or None

    await eventually(arrived)
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    server.answers.set()
    await sender.send(message(3))
    assert connections_of(server) == [2, 1]
    sender.close()


@pytest.mark.parametrize("secure", ["ssl", "starttls"])
@pytest.mark.parametrize("trusted", [True, False])
async def test_a_mail_goes_over_tls_to_a_server_that_the_machine_trusts_and_to_no_other(
    server: MailServer, secure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    company, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    company.issue_cert("127.0.0.1").configure_cert(context)
    (company if trusted else trustme.CA()).cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    server.stop()
    server.listen(secure=secure, context=context)
    sender = sender_of(f"mailtos://127.0.0.1:{server.port}/?mode={secure}&from=shop@example.com", seconds=20, threads=1)
    if trusted:
        await sender.send(message(1))
        await sender.send(message(2))
        assert connections_of(server) == [2]
    else:
        with pytest.raises(SendFailed, match="certificate verify failed") as failed:
            await sender.send(message(1))
        assert (failed.value.permanent, server.mails) == (False, [])
    sender.close()
    server.stop()
    await asyncio.sleep(0)  # asyncio closes a failed connection at the next turn of its loop
