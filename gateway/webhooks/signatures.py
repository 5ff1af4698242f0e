"""Reads signature headers that proxies, frameworks or people have split, joined, quoted, re-cased or written otherwise."""

import base64
import re
from typing import Final, NamedTuple
from urllib.parse import unquote

_DIGEST: Final = re.compile(r"(?<![0-9A-Za-z])(?:0[xX])?((?:[0-9a-fA-F]{2}[: -]?){31}[0-9a-fA-F]{2})(?![0-9A-Za-z])")
_BASE64_DIGEST: Final = re.compile(r"(?<![A-Za-z0-9+/_-])([A-Za-z0-9+/_-]{43})=?(?![A-Za-z0-9+/=_-])")
_TIMESTAMP: Final = re.compile(r"(?<![0-9A-Za-z])t\"?\s*[=:]\s*\"?([0-9]{1,19})(?![0-9])", re.IGNORECASE)
_MILLISECONDS: Final = 10**11  # more than seconds of this millennium, fewer than milliseconds


class SignedTime(NamedTuple):
    """The time of signing that a header states; `text` is as in the header, since that text was signed."""

    text: str

    @property
    def in_milliseconds(self) -> bool:
        return int(self.text) >= _MILLISECONDS

    @property
    def seconds(self) -> float:
        """Unix seconds."""
        return int(self.text) / (1000 if self.in_milliseconds else 1)


def digests_of(header: str) -> list[bytes]:
    """Every SHA-256 digest that the header may state: in hex of either case, or in either alphabet of base64."""
    plain = unquote(header)
    found = [bytes.fromhex(re.sub("[: -]", "", text)) for text in _DIGEST.findall(plain)]
    return found + [base64.b64decode(f"{text}=", altchars=_alphabet(text)) for text in _BASE64_DIGEST.findall(plain)]


def timestamp_of(header: str) -> SignedTime | None:
    """The time of signing that the header states."""
    found = _TIMESTAMP.search(unquote(header))
    return SignedTime(found[1]) if found else None


def _alphabet(text: str) -> bytes | None:
    return b"-_" if set("-_") & set(text) else None
