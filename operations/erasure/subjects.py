"""Whom or what an erasure is about, and how a payload that speaks of it is known."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple, get_args

from msgspec import Meta

from operations.errors import OperationError, Reason
from schemas.partners import key_of
from schemas.text import accepts

Kind = Literal["customer", "user", "email", "lead", "payment", "subscription", "invoice"]
KINDS: Final = get_args(Kind)
_ID_MIN: Final = 3  # what is shorter would be found everywhere
_ID_MAX: Final = 320
SubjectId = Annotated[str, Meta(min_length=_ID_MIN, max_length=_ID_MAX, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
FORMS: Final[Mapping[Kind, str]] = {"email": r"^[^ ]*@[^ ]*\Z", "lead": r"^[^/]+/[^\x00]+\Z"}
"""What else the id of a kind looks like."""
_USER_KEYS: Final = "(user_id|userid|user|to|recipient)"


class Subject(NamedTuple):
    """One subject; the id of a lead is `PARTNER/EXTERNAL_ID`."""

    kind: Kind
    id: str

    @property
    def digest(self) -> bytes:
        """The digest that the erasure is stored under: naming the subject again finds it; the digest alone reveals nothing."""
        named = self.id.lower() if self.kind == "email" else self.id
        return hashlib.sha256(f"{self.kind}:{named}".encode()).digest()

    @property
    def pattern(self) -> str:
        """A regular expression of Postgres, for the escaped text of a payload, upper and lower case alike."""
        name = _escaped(self.id)
        if self.kind == "email":
            return rf"(?<![a-z0-9._%+-]){name}(?![a-z0-9-]|\.[a-z0-9])"
        if self.kind == "user":
            return rf'"{_USER_KEYS}"\s*:\s*"{name}"'
        return f'"{name}"'

    @property
    def lead_key(self) -> str:
        """The lead's key among what has arrived."""
        partner, _, external = self.id.partition("/")
        return f"{key_of(partner)}/{external}"


def subject_of(kind: str, name: str) -> Subject:
    """
    The subject that the words name.

    Raises OperationError.
    """
    found = next((each for each in KINDS if each == kind), None)
    if found is None:
        raise OperationError(Reason.SUBJECT_MALFORMED, f"a subject is one of {', '.join(KINDS)}")
    if not accepts(SubjectId, name):
        raise OperationError(
            Reason.SUBJECT_MALFORMED, f"the id of a subject has {_ID_MIN} to {_ID_MAX} characters, and no control characters"
        )
    if found == "email" and ("@" not in name or " " in name):
        raise OperationError(Reason.SUBJECT_MALFORMED, "an email has an @ and no blank")
    if found == "lead" and not all(name.partition("/")):
        raise OperationError(Reason.SUBJECT_MALFORMED, "a lead is named PARTNER/EXTERNAL_ID")
    return Subject(found, name)


def _escaped(text: str) -> str:
    """Escape the text for a pattern over `encode(bytes, 'escape')`, which writes non-ASCII bytes as octal digits."""
    return "".join(_escaped_byte(byte) for byte in text.encode())


def _escaped_byte(byte: int) -> str:
    if byte >= 0x80:  # noqa: PLR2004  # beyond ASCII
        return rf"\\{byte:03o}"
    return chr(byte) if chr(byte).isalnum() else f"\\{chr(byte)}"
