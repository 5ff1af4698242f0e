r"""
The characters and the length that a text may have, in one place.

Records name these types in their fields, routes in their paths, queries and headers, commands in their options. Nothing is
trimmed: a malformed text is refused, never corrected. Patterns end in `\Z`, since `$` accepts a last newline;
`ops.contracts.records` publishes them for ECMA-262, where `$` is the very end. So they use only what means the same there: no
`\s`, and no backslash before a character that needs none.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from schemas.addresses import PATTERN as MAILBOX

Word = Annotated[str, Meta(pattern=r"^[!-~]{1,255}\Z")]
"""Visible ASCII without blanks: an event's id, a type, a source."""
WordOrNone = Annotated[str, Meta(pattern=r"^[!-~]{0,255}\Z")]
"""The same, or an empty text."""
Line = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
"""One line of any text: a reference, or the id of a user or of a lead."""
Id = Annotated[str, Meta(min_length=1, max_length=320, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
"""An id in a path; a look-up shows whether it exists."""
Filter = Annotated[str, Meta(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
"""A value by which a list is filtered; an empty one finds empty values."""
Cursor = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_=-]{0,400}\Z")]
"""The end of a page, in our own encoding."""
TraceId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
ConfigKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}\Z")]
Currency = Annotated[str, Meta(pattern=r"^[A-Za-z]{3}\Z")]
PartnerId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
IdempotencyKey = Annotated[str, Meta(pattern=r"^[ -~]{1,255}\Z")]
_DOCUMENT_ID: Final = r"[ -~]{1,512}|[ -~\x80-\u07ff]{1,256}|[ -~\x80-\uffff]{1,170}|[^\x00-\x1f\x7f]{1,128}"
DocumentId = Annotated[str, Meta(min_length=1, max_length=512, pattern=rf"^(?:{_DOCUMENT_ID})\Z")]
"""Elasticsearch takes 512 bytes: as many characters of ASCII, and fewer of those that UTF-8 writes in two, three or four."""
RECIPIENT_BYTES: Final = 2048
"""The longest recipient, in bytes: an entry of an index of Postgres has room for 2,704 in all."""
_RECIPIENT: Final = r"[ -~]{1,2048}|[ -~\x80-\u07ff]{1,1024}|[ -~\x80-\uffff]{1,682}|[^\x00-\x1f\x7f]{1,512}"
Recipient = Annotated[str, Meta(min_length=1, max_length=RECIPIENT_BYTES, pattern=rf"^(?:{_RECIPIENT})\Z")]
"""
A user's id, or an address of any channel: in UTF-8 it fits into `RECIPIENT_BYTES`.

The pattern counts every character as if it had as many bytes as the longest one.
"""
RecipientFilter = Annotated[str, Meta(min_length=1, max_length=RECIPIENT_BYTES, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
"""A recipient by which a list is filtered; a text that no recipient can have finds nothing."""
# An address goes into headers and URLs, so nothing in it may end a line or begin another address.
_BLANK: Final = r"\x09-\x0d\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_NO_ADDRESS: Final = rf"\x00-\x08\x0e-\x1b{_BLANK}\x22,:;<>@\x7f"
ADDRESS: Final = rf"^[^{_NO_ADDRESS}]+@[^{_NO_ADDRESS}]+\Z"
"""A text that is meant as a mail address."""
Email = Annotated[str, Meta(max_length=254, pattern=ADDRESS, extra_json_schema={"published": {"pattern": MAILBOX}})]
"""Published with the stricter pattern of `schemas.addresses`."""
Phone = Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{5,14}\Z")]
LocaleTag = Annotated[str, Meta(max_length=35, pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}\Z")]
PushToken = Annotated[str, Meta(max_length=2048, pattern=r"^[\x21-\x7e]+\Z")]
ReasonText = Annotated[str, Meta(max_length=500, pattern=rf"^[^\x00]*[^\x00{_BLANK}][^\x00]*\Z")]
"""A reason in an operator's words: one line or several, and not blank."""
LongReasonText = Annotated[str, Meta(max_length=2000, pattern=rf"^[^\x00]*[^\x00{_BLANK}][^\x00]*\Z")]
"""A longer reason."""

DEPTH_MAX: Final = 100
"""Levels of objects and lists within each other, in bodies that our own services and operators send."""
_NO_BRACKETS: Final = bytes({*range(256)} - {*b"[]{}"})


def accepts(kind: Any, text: str) -> bool:
    """Return True if the text is of the kind, and can be stored and sent on."""
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return is_storable(text)


def is_storable(value: object) -> bool:
    """
    Return True if Postgres takes every text of a decoded JSON value, and every name of a field.

    Postgres takes no NUL and no half of a surrogate pair; bytes that are not UTF-8 become such halves in paths and headers.
    """
    return not any("\0" in text or _has_surrogate(text) for text in _texts(value))


def storable(text: str) -> str:
    """The text as Postgres can store it: other characters are written as a backslash and their number."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def cut(text: str, length: int) -> str:
    """The beginning of the text that fits into this number of bytes in UTF-8."""
    return text if len(text) * 4 <= length else text.encode()[:length].decode(errors="ignore")


def is_too_deep(body: bytes) -> bool:
    """Return True if a JSON text has too many levels; the answer for a text that is not JSON may be either."""
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return False
    depth = deepest = 0
    for place, text in enumerate(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')):
        if place % 2 == 0:  # a part outside the quotes
            for byte in text.translate(None, _NO_BRACKETS):
                depth += 1 if byte in b"[{" else -1
                deepest = max(deepest, depth)
    return deepest > DEPTH_MAX


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _texts(value: object) -> Iterator[str]:
    """Every text within a value; without recursion, since a value may be nested deeper than calls can be."""
    waiting: list[object] = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as fields:
                waiting.extend(fields)
                waiting.extend(fields.values())
            case list() | tuple() as items:
                waiting.extend(items)
