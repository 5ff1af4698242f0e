"""Makes fresh secrets, and refuses placeholders and credentials of another kind in settings. No error quotes a secret."""

import re
import secrets as random
from base64 import b64encode
from typing import Final, Protocol

from pydantic import AfterValidator

from schemas.providers import providers

_BYTES: Final = 32


def fresh_token() -> str:
    """Make a secret that travels in a header, or that a person stores."""
    return random.token_urlsafe(_BYTES)


def fresh_signing_secret() -> str:
    """Make a secret in the form of Standard Webhooks."""
    return f"whsec_{b64encode(random.token_bytes(_BYTES)).decode()}"


_PLACEHOLDER: Final = re.compile(
    r"…|\.\.\.|<.*>|\$\{?\w+\}?|\{\{.*\}\}"  # what documents and templates leave to be filled in
    r"|(?:.*[-_ ])?(?:change|replace|fill)[-_ ]?(?:me|in|this)(?:[-_ !].*)?|placeholder|your[-_ ].*|todo|tbd|none|null"
    r"|(?:whsec_|[sr]k_(?:live|test)_)?(?:x{3,}|\*+|…+|\.+|)",
    re.IGNORECASE,
)
_UNFINISHED: Final = re.compile(r"…|\.\.\.|[<>]")
_KINDS: Final = {
    "signing secret": (re.compile(r"whsec_.*"), "is a signing secret of a webhook"),
    "address": (re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*"), "is an address"),
    **{each.kind: (each.pattern, each.text) for provider in providers() for each in provider.credentials},
}
EVERY_OTHER: Final = frozenset(_KINDS)
_HEADER_WORD: Final = re.compile(r"[\x21-\x7e]+")


class _Secret(Protocol):
    value: str


def only(what: str, *kinds: str, one_word: bool = True) -> AfterValidator:
    """
    Refuse comma-separated secrets that hold a placeholder, or a credential of another kind than these `kinds`.

    `what` names the secret that is expected. A secret that travels in a header, or that a provider has made, is `one_word` of
    printable ASCII characters; one that a person has chosen may be anything.
    """

    def check(secrets: tuple[_Secret, ...]) -> tuple[_Secret, ...]:
        for place, secret in enumerate(secrets, 1):
            if fault := fault_of(secret.value, EVERY_OTHER - {*kinds}, one_word=one_word):
                which = f"the secret {place} of {len(secrets)} " if len(secrets) > 1 else ""
                raise ValueError(f"{which}{fault}; {what} is expected")
        return secrets

    return AfterValidator(check)


KEY_OF_STRIPE: Final = only("a secret or restricted key, sk_ or rk_,", "api key")


def fault_of(secret: str, kinds: frozenset[str], *, one_word: bool) -> str | None:
    """The fault of a secret that must be of none of these kinds; None if there is none."""
    if _PLACEHOLDER.fullmatch(secret) or _UNFINISHED.search(secret):
        return "is a placeholder"
    found = next((text for kind, (pattern, text) in _KINDS.items() if kind in kinds and pattern.fullmatch(secret)), None)
    if found:
        return found
    if (one_word or secret.startswith("whsec_")) and not _HEADER_WORD.fullmatch(secret):
        return "has a space or another character that no such secret has"
    return None
