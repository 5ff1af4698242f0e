"""A mail is read as it was written, whatever its texts hold."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.addresses import mailbox_of
from streams.notifications.mails import Message, mail_of
from streams.notifications.texts import Text

TO = mailbox_of("zoe@example.com")
SHOP = Address("Shop", addr_spec="shop@example.com")
LINE_MAX = 998  # octets (RFC 5322, 2.1.1)

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
"""Every text that Postgres can store."""


def built(text: Text, sender: Address = SHOP) -> tuple[bytes, EmailMessage]:
    assert TO is not None
    mail = mail_of(Message("<1@x>", TO.address, text), sender, TO)
    return mail, message_from_bytes(mail, _class=EmailMessage, policy=policy.SMTP)


def lines_of(text: str) -> list[str]:
    """Return the text's lines as SMTP defines them."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")


def part(mail: EmailMessage, kind: str) -> list[str]:
    found = mail.get_body((kind,))
    assert found is not None
    return lines_of(str(found.get_content()))


@given(body=texts, html=texts)
@example(body="x" * 2000, html="ß" * 2000)
@example(body="From here\n.\n..\n--=_\n", html="a\x01b\x0bc\x85d\u2028e")
@example(body="a\rb\r\nc\n", html="=3D \t\n =")
def test_bodies_are_read_as_they_were_written(body: str, html: str) -> None:
    raw, mail = built(Text(body, "subject", html or None))
    assert part(mail, "plain") == lines_of(body)
    if html:
        assert part(mail, "html") == lines_of(html)
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= LINE_MAX
    assert b"\n" not in raw.replace(b"\r\n", b"")


@given(texts)
@example("=?utf-8?q?bcc?=")
@example("x" * 2000)
@example("a word " * 300)
@example(f"{'ü' * 300} end")
@example("Bcc: eve@example.com")
def test_a_subject_is_read_as_it_was_written(text: str) -> None:
    subject = " ".join(text.split())  # as a template renders it
    raw, mail = built(Text("body", subject))
    assert str(mail["Subject"]) == subject
    assert mail.keys() == [
        "From",
        "To",
        "Subject",
        "Message-ID",
        "Date",
        "Content-Type",
        "MIME-Version",
        "Content-Transfer-Encoding",
    ]
    assert max(map(len, raw.split(b"\r\n"))) <= LINE_MAX


@pytest.mark.parametrize("name", ["", "Shop", 'The "Shop", Inc.', "Zoë's Läden", "=?utf-8?q?x?=", "a\\b", "x" * 300])
def test_a_sender_is_read_as_it_was_written(name: str) -> None:
    _, mail = built(Text("body", "subject"), Address(name, addr_spec="shop@example.com"))
    [address] = mail["From"].addresses
    assert (address.display_name, address.addr_spec) == (name, "shop@example.com")
