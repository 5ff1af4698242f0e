"""Secrets that cannot be what they are set as: placeholders, and credentials of another kind. No error quotes one."""

import re
from typing import Final, Protocol

from pydantic import AfterValidator

_PLACEHOLDER: Final = re.compile(
    r"…|\.\.\.|<.*>|\$\{?\w+\}?|\{\{.*\}\}"  # what documents and templates leave to be filled in
    r"|(?:.*[-_ ])?(?:change|replace|fill)[-_ ]?(?:me|in|this)(?:[-_ !].*)?|placeholder|your[-_ ].*|todo|tbd|none|null"
    r"|(?:whsec_|[sr]k_(?:live|test)_)?(?:x{3,}|\*+|…+|\.+|)",
    re.IGNORECASE,
)
_UNFINISHED: Final = re.compile(r"…|\.\.\.|[<>]")
_QUOTES: Final = frozenset("'\"`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb")
_KINDS: Final = {
    "api key": (re.compile(r"[sr]k_(?:live|test)_.*"), "is an API key of Stripe"),
    "publishable key": (re.compile(r"pk_(?:live|test)_.*"), "is a publishable key of Stripe"),
    "signing secret": (re.compile(r"whsec_.*"), "is a signing secret of a webhook"),
    "object": (re.compile(r"(?:we|acct|evt)_[A-Za-z0-9]{8,}"), "is the id of an object of Stripe"),
    "razorpay key": (re.compile(r"rzp_(?:live|test)_.*"), "is a key id of Razorpay"),
    "address": (re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*"), "is an address"),
}
EVERY_OTHER: Final = frozenset(_KINDS)
_HEADER_WORD: Final = re.compile(r"[\x21-\x7e]+")


class _Secret(Protocol):
    value: str


def check_quotes(text: str) -> str:
    """Raises ValueError for a value with a quotation mark at its begin or end: some readers of env files keep them."""
    if text[:1] in _QUOTES or text[-1:] in _QUOTES:
        raise ValueError("begins or ends with a quotation mark, which would be a part of it")
    return text


def only(what: str, *kinds: str, one_word: bool = True) -> AfterValidator:
    """
    For comma-separated secrets: refuse placeholders and credentials of any kind known here but these `kinds`.

    `what` says what is due instead. A secret that travels in a header, or that a provider has made, is `one_word` of printable
    ASCII characters; one that a person has chosen may be anything.
    """

    def check(secrets: tuple[_Secret, ...]) -> tuple[_Secret, ...]:
        for place, secret in enumerate(secrets, 1):
            if fault := fault_of(secret.value, EVERY_OTHER - {*kinds}, one_word=one_word):
                which = f"the secret {place} of {len(secrets)} " if len(secrets) > 1 else ""
                raise ValueError(f"{which}{fault}; {what} is expected")
        return secrets

    return AfterValidator(check)


KEY_OF_STRIPE: Final = only("a secret or restricted key, sk_ or rk_", "api key")


def fault_of(secret: str, kinds: frozenset[str], *, one_word: bool) -> str | None:
    """What is wrong with a secret that must be of none of these kinds."""
    if _PLACEHOLDER.fullmatch(secret) or _UNFINISHED.search(secret):
        return "is a placeholder"
    found = next((text for kind, (pattern, text) in _KINDS.items() if kind in kinds and pattern.fullmatch(secret)), None)
    if found:
        return found
    if (one_word or secret.startswith("whsec_")) and not _HEADER_WORD.fullmatch(secret):
        return "has a space or another character that no such secret has"
    return None
