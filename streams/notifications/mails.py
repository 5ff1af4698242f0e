"""A message as a mail, which has the same Message-ID at every attempt."""

import re
from email.charset import QP, Charset
from email.header import Header
from email.headerregistry import Address
from email.message import Message as Part
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import format_datetime, localtime, quote
from typing import Final, NamedTuple
from uuid import uuid4

from schemas.addresses import Mailbox
from streams.notifications.texts import Text

# The older of Python's two mail policies: the newer one parses each header that it is given, which took 2.5 ms per mail.
_POLICY: Final = compat32.clone(linesep="\r\n", mangle_from_=False)
_QUOTED: Final = Charset("utf-8")
_QUOTED.body_encoding = QP
_PLAIN: Final = re.compile(r"[\t\r\n -~]*")
_LINE_MAX: Final = 998  # octets (RFC 5322, 2.1.1)
_SHORT: Final = 60  # characters of a header that need no second line
_FOLDS: Final = 200  # characters of a word beyond which a line that holds it may become too long


class Message(NamedTuple):
    """One message; `id` is the same at every attempt."""

    id: str
    address: str
    text: Text


def mail_of(message: Message, sender: Address, to: Mailbox) -> bytes:
    """
    Build the mail, with the message's own id.

    Its texts need no more than 7 bits. Of its headers only addresses may hold more (RFC 6532); then it needs SMTPUTF8.
    """
    name, from_address = sender.display_name, sender.addr_spec
    headers = {
        "From": f"{_name(name)} <{from_address}>" if name else from_address,
        "To": to.address,
        "Subject": _words("Subject", message.text.subject),
        "Message-ID": message.id,
        "Date": format_datetime(localtime()),
    }
    head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    return head.encode() + _content(message.text).as_bytes(policy=_POLICY)


def _content(text: Text) -> Part:
    if not text.html:
        return _part(text.body, "plain")
    parts = [_part(text.body, "plain"), _part(text.html, "html")]
    # Python would compile a pattern for each mail to find a boundary that no part contains; this one cannot be guessed.
    return MIMEMultipart("alternative", f"=_{uuid4().hex}", parts, policy=_POLICY)


def _part(text: str, kind: str) -> MIMEText:
    is_plain = _PLAIN.fullmatch(text) and max(map(len, text.splitlines()), default=0) <= _LINE_MAX
    return MIMEText(text, kind, "us-ascii" if is_plain else _QUOTED, policy=_POLICY)  # type: ignore[arg-type]  # takes both


def _name(name: str) -> str:
    return f'"{quote(name)}"' if _is_plain(name) else Header(name, "utf-8", header_name="From").encode(linesep="\r\n")


def _words(header: str, text: str) -> str:
    """Return the text as the value of a header: folded, and encoded if a mail program would misread it."""
    is_plain = _is_plain(text)
    if is_plain and len(text) <= _SHORT:
        return text
    folds = is_plain and max(map(len, text.split()), default=0) <= _FOLDS
    return Header(text, "us-ascii" if folds else "utf-8", header_name=header).encode(linesep="\r\n")


def _is_plain(text: str) -> bool:
    """Return whether the text needs no encoding in a header; `=?` begins an encoded word (RFC 2047)."""
    return text.isascii() and text.isprintable() and "=?" not in text
