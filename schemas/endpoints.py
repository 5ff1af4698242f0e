"""
Endpoints are data: rows of a table that operators change while everything runs, each with its own secrets.

`place` is the name of an endpoint everywhere, `stripe/eu`: in the table, in logs, in alerts and in commands. A provider's plain
path is named by the provider alone.
"""

import re
from typing import Annotated, Final

from msgspec import Meta

from schemas.text import accepts

SLUG_MAX: Final = 63
Slug = Annotated[str, Meta(min_length=1, max_length=SLUG_MAX, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*\Z")]
"""Lower-case letters and digits, with single dashes between them."""
Label = Annotated[str, Meta(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
"""One line in an operator's words."""
EndpointSecret = Annotated[str, Meta(min_length=8, max_length=512, pattern=r"^[\x20-\x7e]+\Z")]
"""A secret that the provider made or a person chose."""


def is_slug(text: str) -> bool:
    """Return whether an endpoint may have this id."""
    return accepts(Slug, text)


def slug_of(text: str) -> str | None:
    """The slug that is nearest to a text; None if nothing of it is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:SLUG_MAX].strip("-") or None


def place_of(source: str, endpoint: str | None) -> str:
    """The name of a source's endpoint, or without an endpoint of its plain path."""
    return f"{source}/{endpoint}" if endpoint else source
