"""
Foreign HTML, such as that of a mail, in an isolated frame.

Its content security policy sandboxes the frame: it has no scripts, forms, links or origin, and loads nothing. Mails are styled by
attributes, so the policy allows the style attributes of this page by their digests.
"""

import hashlib
from base64 import b64encode
from html.parser import HTMLParser

from aiohttp import web


def frame(html: str) -> web.Response:
    """Answer with the HTML, which only a page of the console can show in a frame."""
    styles = _Styles()
    styles.feed(html)
    digests = sorted({f"'sha256-{b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" for style in styles.found})
    allowed = f"style-src-attr 'unsafe-hashes' {' '.join(digests)}; " if digests else ""
    policy = f"sandbox; default-src 'none'; {allowed}frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    return web.Response(text=html, content_type="text/html", headers={"Content-Security-Policy": policy})


class _Styles(HTMLParser):
    """Collects the style attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.found += [value for name, value in attrs if name == "style" and value]
