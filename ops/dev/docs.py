"""The documentation site: Sphinx makes it from the Markdown pages of the repository (`docs/conf.py`)."""

from __future__ import annotations

import http.server
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SITE: Final = "dist/docs"
# Strict: a link to a missing page, file or heading, or a page that no list names, fails the build.
BUILD: Final = (
    *(sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--conf-dir", "docs"),
    *("--doctree-dir", "dist/doctrees", ".", _SITE),
)


def build_docs(checkout: Path) -> Path | None:
    """Build the site and return its folder, or None after Sphinx has printed what is wrong."""
    done = subprocess.run(BUILD, cwd=checkout, check=False)
    return None if done.returncode else checkout / _SITE


def serve(site: Path, port: int, say: Callable[[str], None]) -> None:
    """Serve the site on the loopback until Ctrl-C; port 0 takes a free one."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        say(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")
