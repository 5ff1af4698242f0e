"""The rules for addresses: the same for the gateway that takes one and for the worker that sends there."""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

import idna

_LOCAL_MAX: Final = 64  # octets (RFC 5321, 4.5.3.1)
_DOMAIN_MAX: Final = 253
_ADDRESS_MAX: Final = 254
# RFC 5322's dot-atom, and beyond ASCII what RFC 6531 adds, except spaces, controls and what UTF-8 cannot encode.
_ATEXT: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u00a1-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_LOCAL: Final = re.compile(rf"{_ATEXT}+(\.{_ATEXT}+)*")
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# The same for readers of JSON Schema: exact for ASCII; a domain beyond ASCII is checked by IDNA alone.
_PRINTED: Final = r"[^\x00-\x20\x22(),:;<>@\[\\\]\x7f-\xa0\ufeff\ufffe\uffff]"
_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_NAME: Final = (
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*(?![0-9]+$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
)
PATTERN: Final = (
    rf"^(?=[^@]{{1,64}}@)(?![^@]*=\?[^@]*\?=)(?:(?!\.){_PRINTED})+(?:\.(?:(?!\.){_PRINTED})+)*"
    rf"@(?:{_NAME}|\[{_BYTE}(?:\.{_BYTE}){{3}}\]|{_PRINTED}*[^\x00-\xa0]{_PRINTED}*)\Z"
)
# In a header an encoded word would be decoded (RFC 2047), into another person's address.
_ENCODED_WORD: Final = re.compile(r"=\?.*\?=")


class Mailbox(NamedTuple):
    """A mailbox as SMTP names it: the domain is in ASCII, the local part may need SMTPUTF8."""

    local: str
    domain: str

    @property
    def address(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def ascii(self) -> bool:
        """Return True if every mail server accepts the address."""
        return self.local.isascii()


def mailbox_of(text: str) -> Mailbox | None:
    """
    Parse the address of a mailbox; return None for a text that can never be one (RFC 5321, 4.1.2; RFC 6531).

    Quoted local parts are refused: no mailbox that people use has one, and each server reads them in its own way.
    """
    local, _, name = text.rpartition("@")
    if len(text) > _ADDRESS_MAX or not _LOCAL.fullmatch(local) or not local.isprintable() or _ENCODED_WORD.search(local):
        return None
    domain = _literal(name) if name.startswith("[") else _domain(name)
    if domain is None or len(local.encode()) > _LOCAL_MAX or len(local.encode()) + len(domain) >= _ADDRESS_MAX:
        return None
    return Mailbox(local, domain)


def _domain(name: str) -> str | None:
    """The name as DNS has it: a name that is not ASCII is encoded by IDNA 2008, mapped as browsers do (UTS 46)."""
    try:
        ascii_name = name if name.isascii() else idna.encode(name, uts46=True).decode()
    except (ValueError, IndexError):  # an IDNAError is a ValueError
        return None
    labels = ascii_name.split(".")
    if len(ascii_name) > _DOMAIN_MAX or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdecimal():
        return None
    return ascii_name


def _literal(name: str) -> str | None:
    """Parse an IP address in brackets, in place of a name."""
    inner = name.removeprefix("[").removesuffix("]")
    try:
        number = IPv6Address(inner[5:]) if inner[:5].lower() == "ipv6:" else IPv4Address(inner)
    except ValueError:
        return None
    return name if name == f"[{inner}]" and "%" not in str(number) else None
