"""
Pure functions that undo what proxies, frameworks and people do to a body, a secret or a signature on its way.

A webhook's signature covers bytes. A proxy that parses a body and writes it again, or a secret copied with a space, changes them.
"""

import base64
import binascii
import html
import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import product
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

_BOM: Final = b"\xef\xbb\xbf"
_DIGEST: Final = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{64}(?![0-9A-Za-z])")
_BASE64_DIGEST: Final = re.compile(r"[A-Za-z0-9+/]{43}=")
_TIMESTAMP: Final = re.compile(r"(?<![0-9A-Za-z])t\s*=\s*\"?([0-9]{1,12})(?![0-9])")
_FORM_FIELD: Final = re.compile(rb"[A-Za-z_]{1,40}=(.*)", re.DOTALL)
_PREFIX: Final = "whsec_"


class Variant(NamedTuple):
    """Bytes that may have been signed, the stable word for what happened to them on the way, and the same in words."""

    value: bytes
    cause: str
    detail: str


def bodies_of(body: bytes) -> Iterator[Variant]:
    """The bodies that may have been sent where this one arrived, cheap guesses first; each once, and never the body itself."""
    seen = {body}
    for variant in (*_trimmed(body), *_transcoded(body), *_rewritten(body)):
        if variant.value not in seen:
            seen.add(variant.value)
            yield variant


def keys_of(secret: str) -> Iterator[Variant]:
    """The keys that a sender may have made of this secret by mistake; never the secret as it is."""
    bare = secret.strip().strip("\"'").strip()
    texts = [bare, *(f"{bare}{end}" for end in ("\n", "\r\n", " ", "\t")), f" {bare}", f'"{bare}"', f"'{bare}'"]
    for text in dict.fromkeys(texts):
        if text != secret:
            detail = "the secret with other spaces, quotes or line ends around it"
            yield Variant(text.encode(), "secret_with_whitespace", detail)
    core = bare.removeprefix(_PREFIX)
    other = core if bare.startswith(_PREFIX) else _PREFIX + bare
    yield Variant(other.encode(), "secret_without_prefix", f"the secret with or without its `{_PREFIX}`")
    for text in dict.fromkeys((core, bare)):
        yield Variant(base64.b64encode(text.encode()), "secret_taken_for_base64", "the secret encoded as base64")
        if (decoded := _base64_of(text)) is not None:
            yield Variant(decoded, "secret_taken_for_base64", "the secret decoded from base64")


def digests_of(header: str) -> list[bytes]:
    """Every SHA-256 digest that the header may state: in hex of either case, or as base64."""
    found = [bytes.fromhex(text) for text in _DIGEST.findall(header)]
    return found + [decoded for text in _BASE64_DIGEST.findall(header) if (decoded := _base64_of(text)) is not None]


def timestamp_of(header: str) -> int | None:
    """The time of signing that the header states, in Unix seconds."""
    found = _TIMESTAMP.search(header)
    return int(found[1]) if found else None


def _trimmed(body: bytes) -> Iterator[Variant]:
    bare = body.removeprefix(_BOM)
    changed = "white space, line ends or a byte order mark were added or taken away"
    unix = bare.replace(b"\r\n", b"\n")
    for core in dict.fromkeys((bare, unix, unix.replace(b"\n", b"\r\n"))):
        stripped = core.strip()
        for start, end in product((b"", _BOM), (b"", b"\n", b"\r\n", b" ")):
            yield Variant(start + stripped + end, "body_trimmed", changed)
        yield Variant(core, "body_trimmed", changed)


def _transcoded(body: bytes) -> Iterator[Variant]:
    changed = "the body was written in another character set"
    for read, written in (
        ("utf-8", "latin-1"), ("latin-1", "utf-8"), ("cp1252", "utf-8"), ("utf-8", "cp1252"), ("utf-16", "utf-8"),
        ("utf-16-le", "utf-8"), ("utf-16-be", "utf-8"), ("utf-8", "utf-16"), ("utf-8", "ascii"),
    ):  # fmt: skip
        try:
            yield Variant(body.decode(read).encode(written), "body_reencoded", changed)
        except UnicodeError:
            continue
    plain = body.decode("utf-8", "surrogateescape")
    for form in ("NFC", "NFD"):
        normal = unicodedata.normalize(form, plain).encode("utf-8", "surrogateescape")
        yield Variant(normal, "body_reencoded", f"the body's characters were composed otherwise (not {form})")
    unescaped = html.unescape(plain).encode("utf-8", "surrogateescape")
    yield Variant(unescaped, "body_reencoded", "characters were escaped as in HTML")
    if field := _FORM_FIELD.fullmatch(body):
        yield Variant(unquote_to_bytes(field[1].replace(b"+", b" ")), "body_reencoded", "the body was sent as a field of a form")


def _rewritten(body: bytes) -> Iterator[Variant]:
    """The same JSON as other libraries write it."""
    try:
        data = json.loads(body.removeprefix(_BOM))
        data = json.loads(data) if isinstance(data, str) else data  # JSON within a JSON string
    except (ValueError, RecursionError):
        return
    layouts: tuple[dict[str, Any], ...] = (
        {"separators": (",", ":")}, {"separators": (", ", ": ")}, {"separators": (",", ": ")},
        {"indent": 2}, {"indent": 4}, {"indent": "\t"}, {"indent": 2, "separators": (",", " : ")},
    )  # fmt: skip
    changed = "the JSON was parsed and written again (spacing, order of keys, or escapes differ)"
    for layout, ascii_only, by_key in product(layouts, (False, True), (False, True)):
        try:
            text = json.dumps(data, ensure_ascii=ascii_only, sort_keys=by_key, **layout)
        except (ValueError, RecursionError):
            return
        for written in (text, text.replace("/", "\\/"), _escaped_for_html(text)):
            for end in ("", "\n"):
                yield Variant((written + end).encode("utf-8", "surrogatepass"), "body_reencoded", changed)


def _escaped_for_html(text: str) -> str:
    """The text as Go's encoder writes it by default, and PHP's with JSON_HEX_TAG."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _base64_of(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_" if set("-_") & set(text) else None, validate=True)
    except (binascii.Error, ValueError):
        return None
