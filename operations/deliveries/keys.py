"""The keys that a sender may have derived from a secret by mistake. Pure functions."""

import base64
import binascii
from collections.abc import Iterator
from itertools import product
from typing import Final

from operations.deliveries.variants import Variant

_PREFIX: Final = "whsec_"
_STARTS: Final = ("", " ", "\n", "\t", "\ufeff", '"', "'", "`")
_ENDS: Final = ("", "\n", "\r\n", "\r", " ", "  ", "\t", "\n\n", "\u00a0", "\u200b", '"', "'", "`", '"\n', "'\n", ",", ";", " \n")
_AROUND_IT: Final = "the secret with other spaces, quotes or line ends around it"
_AROUND: Final = " \t\r\n\f\v\"'`,;\u00a0\u200b\ufeff"


def keys_of(secret: str, setting: str = "") -> Iterator[Variant]:
    """Yield the keys that may have been derived from this secret, the likeliest first; never the secret itself."""
    bare = secret.strip(_AROUND)
    texts = [start + bare + end for start, end in product(_STARTS, _ENDS)] + [f"{setting}={bare}"]
    for text in dict.fromkeys(texts):
        if text != secret:
            yield Variant(text.encode(), "secret_with_whitespace", _AROUND_IT)
    yield from _other_forms(bare)


def likely_keys_of(secret: str) -> Iterator[Variant]:
    """Yield the likeliest keys, to be tried together with another mistake."""
    bare = secret.strip(_AROUND)
    for text in (bare, f"{bare}\n", f"{bare} ", f" {bare}", f'"{bare}"'):
        if text != secret:
            yield Variant(text.encode(), "secret_with_whitespace", _AROUND_IT)
    yield next(_other_forms(bare))


def _other_forms(bare: str) -> Iterator[Variant]:
    core = bare.removeprefix(_PREFIX)
    other = core if bare.startswith(_PREFIX) else _PREFIX + bare
    yield Variant(other.encode(), "secret_without_prefix", f"the secret with or without its `{_PREFIX}`")
    for text in dict.fromkeys((core, bare)):
        yield from _recoded(text)


def _recoded(text: str) -> Iterator[Variant]:
    for plain in (text, f"{text}\n"):
        for written in (base64.b64encode(plain.encode()), base64.urlsafe_b64encode(plain.encode())):
            for value in (written, written.rstrip(b"="), written + b"\n"):
                yield Variant(value, "secret_taken_for_base64", "the secret encoded as base64")
    if (decoded := _base64_of(text)) is not None:
        yield Variant(decoded, "secret_taken_for_base64", "the secret decoded from base64")
    for digits in (text.encode().hex(), text.encode().hex().upper()):
        yield Variant(digits.encode(), "secret_taken_for_hex", "the secret encoded as hex")
    if (number := _hex_of(text)) is not None:
        yield Variant(number, "secret_taken_for_hex", "the secret decoded from hex")


def _base64_of(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_" if set("-_") & set(text) else None, validate=True)
    except (binascii.Error, ValueError):
        return None


def _hex_of(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
