"""The pages of the console that show a thing, by its kind."""

from typing import Final
from urllib.parse import quote

_JOURNEYS: Final = frozenset(
    {"delivery", "event", "payment", "refund", "dispute", "subscription", "invoice", "lead", "attempt", "notification", "task"}
)
"""Kinds of things of which each is an event, came by one, or was changed by one last."""


def page_of(kind: str, id: object) -> str:  # noqa: A002  # it is one
    """Return the path of the page that shows a thing; empty where none does."""
    return f"/console/journey/{quote(str(id), safe='')}" if kind in _JOURNEYS else ""
