"""
The bodies that the sender may have signed, if the body that arrived was changed on its way. Pure functions.

A webhook's signature covers bytes. A proxy or a framework changes them if it parses and rewrites a body, or recodes it.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, product
from typing import Final
from urllib.parse import unquote_to_bytes

from operations.deliveries.json_styles import rewritten
from operations.deliveries.variants import Variant

_BOM: Final = b"\xef\xbb\xbf"
_FORM_FIELD: Final = re.compile(rb"[A-Za-z_]{1,40}=(.*)", re.DOTALL)
_CHARSETS: Final = (
    "latin-1", "cp1252", "iso8859-15", "iso8859-2", "cp1250", "cp1251", "koi8-r", "cp437", "mac-roman", "cp1253", "cp1254",
    "cp1255", "cp1256", "cp932", "euc-jp", "gb18030", "big5", "euc-kr",
)  # fmt: skip
_OF_ASCII: Final = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-7")
"""Charsets that encode even ASCII as other bytes."""
_USUAL_CHARSETS: Final = ("latin-1", "cp1252", "utf-16")
"""The charsets that are tried together with another change."""
_MARKS_MAX: Final = 30
"""Combining characters in a row in any text of people (UAX 15, 13: stream-safe text)."""
_TRIMMED: Final = "white space, line ends or a byte order mark were added or removed"
_RECODED: Final = "the body was written in another character set"
_REWRITTEN: Final = "the JSON was parsed and written again (spacing, order of keys, escapes or numbers differ)"


def bodies_of(body: bytes, is_over: Callable[[], bool] = lambda: False) -> Iterator[Variant]:
    """
    Yield the bodies that may have been sent instead of this one, cheap guesses first; each once, never the body itself.

    It ends early once `is_over` returns True, which is called for each guess.
    """
    seen = {hash(body)}
    for variant in chain(_trimmed(body), _transcoded(body), _rewritten(body)):
        if is_over():
            return
        if (mark := hash(variant.value)) not in seen:  # hashes, since the bodies themselves would fill the memory
            seen.add(mark)
            yield variant


def _trimmed(body: bytes) -> Iterator[Variant]:
    bare = body.removeprefix(_BOM)
    unix = bare.replace(b"\r\n", b"\n")
    for core in dict.fromkeys((bare, unix, unix.replace(b"\n", b"\r\n"))):
        stripped = core.strip()
        for start, end in product((b"", _BOM), (b"", b"\n", b"\r\n", b" ", b"\n\n", b"\0")):
            yield Variant(start + stripped + end, "body_trimmed", _TRIMMED)
        yield Variant(core, "body_trimmed", _TRIMMED)


def _transcoded(body: bytes) -> Iterator[Variant]:
    for value in _recoded(body, _OF_ASCII if body.isascii() else (*_CHARSETS, *_OF_ASCII)):
        yield Variant(value, "body_reencoded", _RECODED)
    plain = body.decode("utf-8", "surrogateescape")
    for form in ("NFC", "NFD") if _is_stream_safe(plain) else ():
        normal = unicodedata.normalize(form, plain).encode("utf-8", "surrogateescape")
        yield Variant(normal, "body_reencoded", f"the body's characters were composed otherwise (not {form})")
    with suppress(ValueError):  # such as a number with more digits than Python reads
        unescaped = html.unescape(plain).encode("utf-8", "surrogateescape")
        yield Variant(unescaped, "body_reencoded", "characters were escaped as in HTML")
    for sent in _of_form(body):
        yield Variant(sent, "body_reencoded", "the body was sent as a field of a form")


def _is_stream_safe(text: str) -> bool:
    """
    Return False for a long row of combining characters.

    Python sorts it in steps that grow with its square, minutes for a body, and lets no other thread run meanwhile.
    """
    if text.isascii():
        return True
    row = 0
    for character in text:
        first = unicodedata.normalize("NFD", character)[0]  # some are marks only once they are decomposed
        row = row + 1 if unicodedata.combining(first) else 0
        if row > _MARKS_MAX:
            return False
    return True


def _recoded(body: bytes, charsets: Sequence[str]) -> Iterator[bytes]:
    """Undo a change of the charset: from UTF-8 to another, or from another to UTF-8, also if UTF-8 was encoded twice."""
    for read, written in chain(((each, "utf-8") for each in charsets), (("utf-8", each) for each in charsets)):
        try:
            yield body.decode(read).encode(written)
        except (UnicodeError, ValueError):
            continue


def _of_form(body: bytes) -> Iterator[bytes]:
    if field := _FORM_FIELD.fullmatch(body):
        yield unquote_to_bytes(field[1].replace(b"+", b" "))


def _rewritten(body: bytes) -> Iterator[Variant]:
    """Yield the same JSON as other libraries write it, also if the body was recoded as well."""
    for text in _texts_of(body.removeprefix(_BOM)):
        for written in rewritten(text):  # one after the other: `product` would make them all first
            for end in ("", "\n"):
                yield Variant((written + end).encode("utf-8", "surrogatepass"), "body_reencoded", _REWRITTEN)


def _texts_of(body: bytes) -> Iterator[str]:
    """Yield the body as text, in each decoding that may be JSON."""
    charsets = () if body.isascii() else _USUAL_CHARSETS
    for candidate in dict.fromkeys((body, *_of_form(body), *_recoded(body, charsets))):
        try:
            text = candidate.decode()
        except UnicodeDecodeError:
            continue
        if text.lstrip()[:1] in {"{", "[", '"'}:
            yield text
