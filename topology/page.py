"""The topology as a page: one file with its drawing, style and script, which loads nothing from another server."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from markupsafe import Markup

from topology.drawing import draw
from topology.figures import readings, tiles
from topology.levels import MUCH, level_of, short
from topology.view import Topology

if TYPE_CHECKING:
    from jinja2 import Environment

CONTENT_SECURITY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'"
)
"""The page loads nothing from other servers, and no page may frame it."""


class HyperLink(NamedTuple):
    """A link in the head of the page."""

    text: str
    href: str


def render(
    topology: Topology,
    *,
    title: str = "topology",
    focus: frozenset[str] = frozenset(),
    mine: frozenset[tuple[str, int]] = frozenset(),
    links: Sequence[HyperLink] = (),
    fresh: bool = True,
    footer: Markup | str = "",
) -> str:
    """The page; `focus` are its agents, `mine` are the partitions of the process that serves it, and `fresh` makes it
    reload its figures every few seconds.
    """
    return (
        _environment()
        .get_template("page.html")
        .render(
            topology=topology,
            drawing=draw(topology, mine),
            title=title,
            focus=focus,
            pages={},
            mine=mine,
            links=links,
            tiles=tiles(topology),
            readings=readings(topology),
            footer=footer,
            fresh=fresh,
            much=MUCH,
            short=short,
            level_of=level_of,
        )
    )


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  # a process starts without its pages

    return Environment(loader=PackageLoader("topology"), undefined=StrictUndefined, autoescape=True, trim_blocks=True)
