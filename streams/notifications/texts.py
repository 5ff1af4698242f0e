"""Renders templates to texts: one folder per template code, one file per part of a channel's message."""

from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from babel import Locale, UnknownLocaleError

from schemas.currencies import shown_digits, text_of, value_of
from schemas.operations import Channel
from schemas.templates import TEMPLATES, fields_of

if TYPE_CHECKING:
    from jinja2.runtime import Context

_STANDARD: Final = "standard"


def money(amount: int, currency: str, *, provider: str | None = None, locale: str | None = None) -> str:
    """
    Return an amount in minor units of the provider as text, exact to the last digit.

    `2990` of `eur` is `29.90 EUR`; with a locale (BCP 47, such as `de-DE`) it is written as usual there: `29,90 €`. An unknown
    locale counts as none.
    """
    known = _locale_of(locale) if locale else None
    if known is None:
        return text_of(amount, currency, provider)
    digits = shown_digits(amount, currency, provider)
    pattern = copy(known.currency_formats[_STANDARD])
    pattern.frac_prec = (digits, digits)
    value = value_of(amount, currency, provider)
    return str(pattern.apply(value, known, currency=currency.upper(), currency_digits=False))


@lru_cache(maxsize=256)
def _locale_of(tag: str) -> Locale | None:
    """Return the locale of a tag, or the one of its language alone."""
    for candidate in (tag, tag.replace("_", "-").split("-", maxsplit=1)[0]):
        try:
            return Locale.parse(candidate.replace("_", "-"), sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    return None


FOLDER: Final = Path(__file__).parent / "templates"
PARTS: Final[Mapping[Channel, tuple[str, ...]]] = {
    "EMAIL": ("email.subject.j2", "email.txt.j2", "email.html.j2"),
    "SMS": ("sms.j2",),
    "PUSH": ("push.j2",),
}
_LOCALE: Final = "readers_locale"


class Text(NamedTuple):
    """The text of a message; only a mail has a subject and HTML."""

    body: str
    subject: str = ""
    html: str | None = None


class Texts:
    """All templates; one that uses a field that it does not declare fails instead of leaving a gap."""

    def __init__(self) -> None:
        # Imported here, since the gateway renders a text only when an operator requests it.
        from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape  # noqa: PLC0415

        self.environment = Environment(
            loader=FileSystemLoader(FOLDER),
            undefined=StrictUndefined,
            autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
            auto_reload=False,
        )
        self.environment.filters["money"] = pass_context(_money)

    def render(self, code: str, channel: Channel, data: Mapping[str, Any], locale: str | None = None) -> Text:
        """Render the text for data that `schemas.templates.check` has passed; amounts are written as in the locale."""
        fields = fields_of(TEMPLATES[code], data) | {_LOCALE: locale}
        parts = [self.environment.get_template(f"{code}/{part}").render(fields) for part in PARTS[channel]]
        if channel != "EMAIL":
            return Text(parts[0].strip())
        subject, body, html = parts
        return Text(body, " ".join(subject.split()), html)  # a header is one line, whatever the data holds


def _money(context: "Context", amount: int, currency: str) -> str:
    return money(amount, currency, provider=context.get("provider"), locale=context.get(_LOCALE))
