"""
Removes the secrets of this process from texts: a library's error may quote the address that it could not use.

`environment` in `runtime/settings.py` makes the secrets known as it reads them; from then on `redacted` replaces them in
everything that is logged, printed as an error, answered, or stored as the text of an error.
"""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus, urlsplit

from runtime.addresses import WITHHELD, shown

HIDDEN: Final = "***"
_SHORTEST: Final = 4
"""The length of the shortest secret that is replaced: a shorter one occurs in ordinary words, and lines would be unreadable."""

_SECRET_NAME: Final = re.compile(
    r"(?:.+_(?:SECRET|TOKEN|API_KEY|PASSWORD)|PGPASSWORD|SECRET_KEYS|OTEL_EXPORTER_OTLP_(?:.+_)?HEADERS)"
)
_ADDRESS_NAME: Final = re.compile(r"(?:.+_URL|.+_API_BASE|.+_PROXY|.+_MIRROR|OTEL_EXPORTER_OTLP_(?:.+_)?ENDPOINT)", re.IGNORECASE)
_NOTIFY: Final = re.compile(r"NOTIFY_.+_URL")
_SECRET_PARAMETER: Final = re.compile(r"pass|pwd|secret|token|key|sig|auth|credential|sid", re.IGNORECASE)
_FEW: Final = 512
"""The number of forms below which a search for each of them is quicker than the index."""
_DELIMITERS: Final = re.compile(r"[\s@:/#?&=%,;\\'\"\[\]{}<>|]+")
_PARAMETERS: Final = re.compile(r"(?:[\w.:+-]+=[^&]*(?:&[\w.:+-]+=[^&]*)*)?")
_TOKEN_LIKE: Final = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w.~+-]{8,}|[\w.~+-]{20,}")

# The parts of an error in which Postgres quotes the faulty row, usually with personal data.
_ROW: Final = re.compile(r"(?m)^(DETAIL|CONTEXT):.*(?:\n(?![A-Z]{4,}:).*)*|Failing row contains \(.*\)|Key \(.*?\)=\(.*?\)")


class Redaction:
    """Replaces the secrets that it was made for."""

    def __init__(self, secrets: Iterable[str], addresses: Iterable[str] = ()) -> None:
        whole = {text: shown_as for text in addresses if (shown_as := shown(text)) != text}
        forms = {form: HIDDEN for secret in secrets for form in forms_of(secret) if len(form) >= _SHORTEST}
        found = forms | {form: where for text, where in whole.items() for form in {text, repr(text)[1:-1], text.strip()}}
        # The longest first: a secret may be a part of another, and every one of its address.
        self._replacements = sorted(found.items(), key=lambda pair: -len(pair[0]))
        self._index = _Index(form for form, _ in self._replacements)

    @classmethod
    def of(cls, *environs: Mapping[str, str]) -> "Redaction":
        """Make one for the secrets among these settings, and those inside their addresses."""
        named = {(name, text) for environ in environs for name, text in environ.items() if "://" in text and _is_address(name)}
        providers = {text for name, text in named if _NOTIFY.fullmatch(name)}
        addresses = {text for _, text in named} - providers
        return cls(set().union(*map(secrets_of, environs)) | providers, addresses)

    def apply(self, text: str) -> str:
        place = self._index.first_in(text, 0)
        while place is not None:
            found, shown_as = self._replacements[place]
            text = text.replace(found, shown_as)
            place = self._index.first_in(text, place + 1)
        return text


class _Index:
    """
    Finds which of many forms a text contains, by the first characters of the forms and then by their lengths.

    So the time depends on the length of the text and not on the number of secrets, of which a system may have
    thousands: every refusal and every log line is redacted, and anyone can cause a refusal.
    """

    def __init__(self, forms: Iterable[str]) -> None:
        self._forms = list(forms)
        self._short: list[int] = []
        """The places of the forms that are shorter than the key; only an odd address makes one."""
        self._of_start: dict[str, dict[int, dict[str, int]]] = {}
        for place, form in enumerate(self._forms):
            if len(form) < _SHORTEST:
                self._short.append(place)
            else:
                self._of_start.setdefault(form[:_SHORTEST], {}).setdefault(len(form), {})[form] = place

    def first_in(self, text: str, start: int) -> int | None:
        """Return the place of the first form, from `start` on, that is in the text; None if there is none."""
        if len(self._forms) < min(len(text), _FEW):
            return next((place for place in range(start, len(self._forms)) if self._forms[place] in text), None)
        return min((place for place in self._places_in(text) if place >= start), default=None)

    def _places_in(self, text: str) -> Iterator[int]:
        of_start = self._of_start
        yield from (place for place in self._short if self._forms[place] in text)
        starts = [text[at : at + _SHORTEST] for at in range(len(text) - _SHORTEST + 1)]
        if of_start.keys().isdisjoint(starts):
            return
        for at in [at for at, start in enumerate(starts) if start in of_start]:
            for length, forms in of_start[starts[at]].items():
                if (place := forms.get(text[at : at + length])) is not None:
                    yield place


_nothing: Final = Redaction(())
_current = _nothing
_stored: dict[str, Redaction] = {}


def is_secret_name(name: str) -> bool:
    """Return whether a setting of this name is a secret, or an address that may hold one."""
    return bool(_SECRET_NAME.fullmatch(name)) or _is_address(name)


def _is_address(name: str) -> bool:
    return bool(_ADDRESS_NAME.fullmatch(name))


def hide_secrets_of(*environs: Mapping[str, str]) -> None:
    """Let `redacted` replace the secrets among these settings from now on, and no longer the previous ones."""
    global _current  # noqa: PLW0603  # one a process, as with logging
    _current = Redaction.of(*environs)


def hide_stored_secrets(table: str, secrets: Iterable[str], addresses: Iterable[str]) -> None:
    """Let `redacted` also replace these secrets, which are in a table and in no setting."""
    _stored[table] = Redaction(secrets, addresses)


def redacted(text: str) -> str:
    """The text without secrets."""
    text = _current.apply(text)
    for known in tuple(_stored.values()):
        text = known.apply(text)
    return text


def error_text(error: BaseException | str, limit: int | None = None) -> str:
    """Return the text of an error without secrets, and without the row that Postgres quotes."""
    text = redacted(_ROW.sub(_without_row, str(error).strip()))
    return text if limit is None else text[:limit]


def redacted_value(value: Any) -> Any:
    """Redact any value that a log line may hold."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, BaseException):
        return error_text(value)
    if isinstance(value, Mapping):
        return {redacted_value(key): redacted_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted_value(item) for item in value]
    return value


def _without_row(match: re.Match[str]) -> str:
    return f"{match[1]}: (not shown)" if match[1] else "(a row that is not shown)"


def secrets_of(environ: Mapping[str, str]) -> set[str]:
    """Return every secret in these settings, as far as a secret can be recognised."""
    found: set[str] = set()
    for name, text in environ.items():
        if not text:
            continue
        if _SECRET_NAME.fullmatch(name):
            found |= {text, *(part.strip() for part in text.split(","))}
            if name.endswith("_HEADERS"):  # name=value, where a value may begin with the name of a scheme
                found |= {part.partition("=")[2].rpartition(" ")[2] for part in unquote(text).split(",")}
        elif _ADDRESS_NAME.fullmatch(name):
            found |= set(_secrets_in(text, whole=bool(_NOTIFY.fullmatch(name))))
    return found - {""}


def _secrets_in(url: str, *, whole: bool) -> Iterator[str]:
    """
    The password in an address, and its parts on both sides of each character at which a parser may have cut it.

    In an address that is secret as a whole (Apprise's) the host and the path can be a token too.
    """
    scheme, _, rest = url.partition("://")
    head, _, tail = url.partition("?")
    clean = shown(head) != WITHHELD and _PARAMETERS.fullmatch(tail)
    who, _, after = (urlsplit(head).netloc if clean else rest).rpartition("@")
    user, separator, password = who.partition(":")
    yield from _cut(password)
    yield from _cut(unquote(password))
    if password:
        yield base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode("utf-8", "replace")).decode()  # HTTP's Basic
    if user and (whole or not separator):
        yield user
    query = rest.partition("?")[2].partition("#")[0]
    for name, value in parse_qsl(query):
        if _SECRET_PARAMETER.search(name) or _TOKEN_LIKE.fullmatch(value):
            yield value
    if not scheme.startswith(("postgres", "redis", "valkey")):
        path = rest.partition("?")[0].partition("/")[2]
        yield from (part for part in path.split("/") if _TOKEN_LIKE.fullmatch(unquote(part)))
        host = after.partition("/")[0]
        if whole and "." not in host:
            yield from (part for part in host.split(":") if _TOKEN_LIKE.fullmatch(part))


def _cut(password: str) -> Iterator[str]:
    """The password, and the parts that a parser makes of it if it mistakes one of the characters for a delimiter."""
    yield password
    for cut in _DELIMITERS.finditer(password):
        yield from (password[: cut.start()], password[cut.end() :], password[cut.start() :])
    yield from _DELIMITERS.split(password)


def forms_of(secret: str) -> set[str]:
    """Return the forms that a secret may take: decoded or encoded for an address, in base64, JSON, HTML or Python's own."""
    plain = {secret, unquote(secret), unquote_plus(secret), secret.removeprefix("whsec_"), secret.strip()}
    found = set(plain)
    for text in plain:
        found |= {quote(text, safe="", errors="replace"), quote(text, errors="replace"), quote_plus(text, errors="replace")}
        raw = text.encode("utf-8", "surrogateescape")
        found |= {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode(), repr(raw)[2:-1]}
        found |= {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], html.escape(text)}
        found |= {repr(text)[1:-1], ascii(text)[1:-1], text.replace("'", "''").replace('"', '""')}
    return found | {re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), text) for text in found if "%" in text}
