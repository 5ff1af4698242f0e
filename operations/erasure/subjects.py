"""The subjects of erasures, and the patterns that recognize a payload about one."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple, get_args

from msgspec import Meta

from operations.errors import OperationError, Reason
from schemas.partners import key_of
from schemas.text import accepts

Kind = Literal["customer", "user", "email", "lead", "payment", "subscription", "invoice"]
KINDS: Final = get_args(Kind)
_ID_MIN: Final = 3  # a shorter id would match everywhere
_ID_MAX: Final = 320
SubjectId = Annotated[str, Meta(min_length=_ID_MIN, max_length=_ID_MAX, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
FORMS: Final[Mapping[Kind, str]] = {"email": r"^[^ ]*@[^ ]*\Z", "lead": r"^[^/]+/[^\x00]+\Z"}
"""The pattern that the ids of a kind match in addition."""
_USER_KEYS: Final = "(user_id|userid|user|to|recipient)"


class Subject(NamedTuple):
    """One subject; the id of a lead is `PARTNER/EXTERNAL_ID`."""

    kind: Kind
    id: str

    @property
    def digest(self) -> bytes:
        """The digest under which the erasure is stored: the same subject has the same digest, which does not reveal it."""
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
        """The lead's key in `dedup`."""
        partner, _, external = self.id.partition("/")
        return f"{key_of(partner)}/{external}"


def subject_of(kind: str, name: str) -> Subject:
    """
    Return the subject of this kind and id.

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
        raise OperationError(Reason.SUBJECT_MALFORMED, "an email has an @ and no space")
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
