"""Texts that are a mail address, and texts that never can be one."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.headerregistry import Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.addresses import Mailbox, mailbox_of
from streams.notifications.mails import Message, mail_of
from streams.notifications.texts import Text


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("jo@example.com", "example.com"),
        ("Jo.Smith+tag@Example.COM", "Example.COM"),
        ("o'hara!#$%&'*+/=?^_`{|}~-@example.com", "example.com"),
        ("jo@localhost", "localhost"),
        ("jo@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("jo@bücher.example", "xn--bcher-kva.example"),
        ("jo@straße.example", "xn--strae-oqa.example"),
        ("jo@例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("zoë@example.com", "example.com"),
        ("用户@例子.广告", "xn--fsqu00a.xn--4rr70v"),
        ("jo@[10.0.0.1]", "[10.0.0.1]"),
        ("jo@[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("a" * 64 + "@example.com", "example.com"),
    ],
)
def test_an_address_is_one(text: str, domain: str) -> None:
    assert mailbox_of(text) == Mailbox(text.rpartition("@")[0], domain)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "jo",
        "jo@",
        "@example.com",
        "jo@gmail..com",
        "jo@gmail.com.",
        "jo@.gmail.com",
        ".jo@gmail.com",
        "jo.@gmail.com",
        "j..o@gmail.com",
        "jo@[10.0.0.1",
        "jo@10.0.0.1]",
        "jo@[10.0.0.256]",
        "jo@[IPv6:::1%eth0]",
        "jo@[[10.0.0.1]]",
        "jo@10.0.0.1",
        "jo smith@gmail.com",
        "jo@gmail com",
        "jo@gmail.com\n",
        "jo@gmail.com\r\nBcc: eve@example.com",
        "jo\0@gmail.com",
        "jo@a@b.com",
        "<jo@gmail.com>",
        "Jo <jo@gmail.com>",
        "jo@gmail.com,eve@example.com",
        "jo;eve@example.com",
        "jo@-gmail.com",
        "jo@gmail-.com",
        "jo@" + "a" * 64 + ".com",
        "a" * 65 + "@example.com",
        "jo@" + "a." * 130 + "com",
        "ë" * 33 + "@example.com",
        "=?utf-8?q?eve?=@example.com",
        "=?utf-8?b?ZXZl?=@example.com",
        "jo\ud800@example.com",
        f"jo{chr(0xDC80)}@example.com",
        "jo@exa\ud800mple.com",
        "jo\u00a0x@example.com",
        "jo\u200b@example.com",
        "jo\u202e@example.com",
        "jo@\u200d.com",
        "jo@xn--\u00e9.com",
        '"jo"@example.com',
        "jo@example.com\u2028",
        "\ufeffjo@example.com",
        "jo(comment)@example.com",
        "jo@exa\u3002\u3002mple.com",
    ],
    ids=ascii,
)
def test_a_text_that_can_never_be_an_address_is_none(text: str) -> None:
    assert mailbox_of(text) is None


_PIECES = st.sampled_from(
    [*"ab.@-_=?[]:<>,;\"'()\\ \n\r\0\t", "é", "ß", "\ud800", "\udcff", "。", "xn--", "=?", "?=", "gmail.com", "@"]
)


@given(st.one_of(st.text(), st.emails(), st.lists(_PIECES, max_size=30).map("".join)))
def test_every_address_is_that_of_the_mail_that_goes_there(text: str) -> None:
    mailbox = mailbox_of(text)
    if mailbox is None:
        return
    mail = mail_of(Message("<1@x>", text, Text("body", "subject")), Address(addr_spec="shop@example.com"), mailbox)
    read = message_from_bytes(mail, policy=policy.SMTPUTF8 if not mailbox.ascii else policy.SMTP)
    assert [address.addr_spec for address in read["To"].addresses] == [mailbox.address]
    assert str(read["To"]) == mailbox.address
    assert read.get_content().rstrip() == "body"
