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
# A character before an address that is no part of it. In the escaped text a JSON backslash is two bytes, and a byte beyond ASCII
# is octal digits. Letters are no boundary, in any notation: `éjane@x` is another mailbox than `jane@x`.
_JSON_BOUNDARY: Final = (
    r"\\\\[bfnrt]|\\\\u(?:00(?:[01][0-9a-f]|2[0-46-9acf]|3[a-f]|40|5[b-e]|60|7[b-f]|[89][0-9a-f]|a[0-9b-f]|b[0-46-9b-f])"
    r"|20[0-6][0-9a-f]|30[0-3][0-9a-f]|ff0[0-9a-f]|ff1[a-f]|feff|d83[c-e]\\\\ud[c-f][0-9a-f]{2})"
)
_UTF8_BOUNDARY: Final = (
    r"\\302\\2(?:4[0-7]|5[0-13-7]|6[0-46-7]|7[0-13-7])|\\342\\20[01]\\[0-7]{3}|\\343\\200\\[0-7]{3}"
    r"|\\357\\274\\(?:2[01][0-7]|23[2-7]|240)|\\357\\273\\277|\\360\\237\\[0-7]{3}\\[0-7]{3}"
)
_BEFORE: Final = rf"(?:(?<![a-z0-9._%+-])|(?<={_JSON_BOUNDARY}|{_UTF8_BOUNDARY}))"


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
            return rf"{_BEFORE}{name}(?![a-z0-9-]|\.[a-z0-9])"
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
    """
    Escape the text for a pattern over `encode(bytes, 'escape')`, in every notation of JSON.

    That text writes non-ASCII bytes as octal digits, and doubles backslashes.
    """
    return "".join(_escaped_character(character) for character in text)


def _escaped_character(character: str) -> str:
    # Postgres folds the case of the escaped text, in which a non-ASCII letter is digits.
    cases = dict.fromkeys((character, character.lower(), character.upper()))
    return f"(?:{'|'.join(form for case in cases if len(case) == 1 for form in _notations(case))})"


def _notations(character: str) -> list[str]:
    raw = "".join(_escaped_byte(byte) for byte in character.encode())
    units = character.encode("utf-16-be")
    by_code = "".join(rf"\\\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    return [raw, by_code, *([rf"\\\\{raw}"] if character in '/"\\' else [])]


def _escaped_byte(byte: int) -> str:
    if byte >= 0x80:  # noqa: PLR2004  # beyond ASCII
        return rf"\\{byte:03o}"
    if byte == ord("\\"):
        return r"\\\\"
    return chr(byte) if chr(byte).isalnum() else f"\\{chr(byte)}"
