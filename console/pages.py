"""Renders pages from templates, with the values that all of them share."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, quote_plus

import orjson
from aiohttp import web

from console.assets import address_of
from console.json_text import indented
from console.sessions import Holder
from gateway.masking import addresses_in, without_addresses
from schemas.currencies import NO_CURRENCY, text_of

if TYPE_CHECKING:
    from jinja2 import Environment

_ID_MAX: Final = 16  # maximum number of characters of an id that is not shortened
_ID_END: Final = 6
_REPEATED: Final = re.compile(r"((?<= value=\x22)[^\x22]*|(?<=\?)[^\x22<>\s]*(?=\x22))")
"""The value of a form field, and the query of a link."""


class Screen(NamedTuple):
    """A screen and its routes; a screen without a title is linked from other screens, but not in the navigation."""

    title: str
    path: str
    routes: Sequence[web.RouteDef]


class Session(NamedTuple):
    """The session of a request: its holder, and the token of its forms."""

    holder: Holder
    form_token: str

    @property
    def changes(self) -> bool:
        """True if the session may change anything."""
        return self.holder.role == "admin"


SCREENS: Final = web.AppKey("screens", Sequence[Screen])
SESSION: Final = web.RequestKey("session", Session)
"""Set for every request that needs a session."""


def page(request: web.Request, template: str, *, status: int = HTTPStatus.OK, **values: Any) -> web.Response:
    """
    Render a template, which has `session`, `screens` and `here` besides these values.

    A template whose name begins with an underscore is a part of a page, which htmx inserts. For readers, every e-mail address and
    telephone number on the page is masked, as in the answers of the API.
    """
    text = (
        _environment()
        .get_template(template)
        .render(values, session=request.get(SESSION), screens=request.app[SCREENS], here=request.path)
    )
    session = request.get(SESSION)
    shown = text if session is None or session.changes else _for_reader(request, text)
    return web.Response(text=shown, content_type="text/html", status=status)


def _for_reader(request: web.Request, text: str) -> str:
    """Mask the addresses of a page, except those of the reader's own query where fields and links repeat it."""
    ways: tuple[Callable[[str], str], ...] = (str, quote, quote_plus)
    own = {each for value in request.query.values() for way in ways for each in addresses_in(way(value))}
    pieces = _REPEATED.split(text) if own else [text]
    return "".join(without_addresses(piece, own if n % 2 else frozenset()) for n, piece in enumerate(pieces))


def redirect(path: str) -> web.Response:
    """Send the browser to another page, by GET."""
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": path})


@cache
def _environment() -> "Environment":
    from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined  # noqa: PLC0415  # a process without pages does not load it

    made = Environment(
        loader=ChoiceLoader([PackageLoader("console"), PrefixLoader({"topology": PackageLoader("topology")})]),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"short": shorten, "utc": utc, "iso": iso, "pretty": pretty, "span": span, "count": "{:,}".format}
    made.filters["amount"] = amount_of
    made.globals["asset"] = address_of
    return made


def shorten(text: object) -> str:
    """Return an id shortened in the middle: its beginning shows its kind or time, its end distinguishes it from similar ids."""
    whole = str(text)
    if len(whole) > _ID_MAX and "@" in whole:  # it has to stay recognizable as an address, since addresses are masked for readers
        name, _, host = whole.partition("@")
        return f"{name[:_ID_END]}…@…{host[-_ID_END:]}"
    return whole if len(whole) <= _ID_MAX else f"{whole[: _ID_MAX - _ID_END - 1]}…{whole[-_ID_END:]}"


def utc(moment: datetime) -> str:
    """Return a time in UTC for browsers without scripts; a script replaces it with local time."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """Return a duration in a suitable unit; a clock that was set back makes one negative."""
    if seconds < 0:
        return f"-{span(-seconds)}"
    for limit, unit, one in ((1, "ms", 0.001), (120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / one:.0f} {unit}" if one != 1 else f"{seconds:.1f} s"
    return f"{seconds / 86_400:.0f} d"


def pretty(body: bytes) -> str:
    """Return a readable body: JSON is indented, other text is unchanged, and of other bytes only the number is shown."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"{len(body):,} bytes that are not text"
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return text
    return indented(text)


def amount_of(minor: int, currency: str, provider: str) -> str:
    """Return an amount, given in the provider's minor units, as text; if no event has stated the currency, in minor units."""
    return f"{minor}, currency unknown" if currency == NO_CURRENCY else text_of(minor, currency, provider)


def iso(moment: datetime) -> str:
    """Return a time in ISO 8601, for scripts."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
