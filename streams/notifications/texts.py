"""Templates into texts: one folder a template code, one file a channel's part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context

from schemas.operations import Channel
from schemas.templates import TEMPLATES, fields_of
from streams.notifications.money import money

FOLDER: Final = Path(__file__).parent / "templates"
PARTS: Final[Mapping[Channel, tuple[str, ...]]] = {
    "EMAIL": ("email.subject.j2", "email.txt.j2", "email.html.j2"),
    "SMS": ("sms.j2",),
    "PUSH": ("push.j2",),
}
_LOCALE: Final = "readers_locale"


class Text(NamedTuple):
    """The text of a message; only a mail has a subject and a page."""

    body: str
    subject: str = ""
    html: str | None = None


class Texts:
    """All templates; one that uses a field that it does not declare fails instead of leaving a gap."""

    def __init__(self) -> None:
        self.environment = Environment(
            loader=FileSystemLoader(FOLDER),
            undefined=StrictUndefined,
            autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
            auto_reload=False,
        )
        self.environment.filters["money"] = _money

    def render(self, code: str, channel: Channel, data: Mapping[str, Any], locale: str | None = None) -> Text:
        """Render the text for data that `schemas.templates.check` has passed; amounts are written as in the locale."""
        fields = fields_of(TEMPLATES[code], data) | {_LOCALE: locale}
        parts = [self.environment.get_template(f"{code}/{part}").render(fields) for part in PARTS[channel]]
        if channel != "EMAIL":
            return Text(parts[0].strip())
        subject, body, html = parts
        return Text(body, " ".join(subject.split()), html)  # a header is one line, whatever the data holds


@pass_context
def _money(context: Context, amount: int, currency: str) -> str:
    return money(amount, currency, provider=context.get("provider"), locale=context.get(_LOCALE))
