"""
Pages of others, such as the page of a mail, in a frame that can do nothing.

Its policy puts it into a sandbox without scripts, forms, links to elsewhere and an origin, and loads nothing. Mails are styled by
attributes: those of the page itself are let in by their digests.
"""

import hashlib
from base64 import b64encode
from html.parser import HTMLParser

from aiohttp import web


def frame(html: str) -> web.Response:
    """Answer with the page, which only a page of the console can show."""
    styles = _Styles()
    styles.feed(html)
    digests = sorted({f"'sha256-{b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" for style in styles.found})
    allowed = f"style-src-attr 'unsafe-hashes' {' '.join(digests)}; " if digests else ""
    policy = f"sandbox; default-src 'none'; {allowed}frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    return web.Response(text=html, content_type="text/html", headers={"Content-Security-Policy": policy})


class _Styles(HTMLParser):
    """Gathers the style attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.found += [value for name, value in attrs if name == "style" and value]
