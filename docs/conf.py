"""
Sphinx's configuration of the documentation site, which `./dev docs` builds from the pages of the repository.

A page stays readable on a forge: it is plain Markdown with links between files. The additions for the site are made here while a
page is read: lists of pages, diagrams as SVG, and links to folders and code as plain text, since the site has no pages for them.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import mermaidx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

ROOT: Final = Path(__file__).parents[1]

project = "Tallyhook"
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/**", "runbooks/**", "monitoring/*.md", "benchmarks/*.md"]
exclude_patterns = [".*", "tests", "dist", "docs/conf.py"]
myst_heading_anchors = 3
smartquotes = False  # an option is written --json
html_theme = "furo"
html_title = f"Tallyhook {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

_PAGES: Final = {
    "Understand": ("docs/architecture", "docs/glossary", "docs/decisions/README", "docs/scaling", "docs/scale"),
    "Rely on": ("docs/contract", "docs/reference", "docs/metrics", "CHANGELOG", "SECURITY"),
    "Operate": (
        "docs/production",
        "docs/console",
        "runbooks/README",
        "monitoring/README",
        "docs/network",
        "docs/partners",
        "docs/endpoints",
        "docs/secrets",
        "docs/connections",
        "docs/kafka",
    ),
    "Develop": ("CONTRIBUTING", "docs/releasing", "benchmarks/README", "docs/upstream/README"),
}
_DIAGRAM: Final = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_READABLE: Final = 0.55  # the part of its size to which a diagram may shrink
_LINK: Final = re.compile(r"\[([^][]+)\]\(([^)#:]+)\)")


def setup(app: Sphinx) -> None:
    app.connect("source-read", _prepare)
    app.connect("build-finished", _name_first_page)


def _prepare(_: Sphinx, name: str, source: list[str]) -> None:
    text = _DIAGRAM.sub(_draw, source[0])
    text = _LINK.sub(lambda link: link[1] if _is_code((ROOT / name).parent / link[2]) else link[0], text)
    if name == "README":
        text += "".join(_contents(pages, f":caption: {caption}\n:hidden:") for caption, pages in _PAGES.items())
    elif name.endswith(("runbooks/README", "decisions/README")):
        text += _contents(["*"], ":glob:\n:hidden:")
    elif name == "docs/reference":
        text += "".join((*_operations(), *_events()))
    source[0] = text


def _is_code(target: Path) -> bool:
    return target.is_dir() or (target.suffix == ".py" and target.exists())


def _contents(pages: tuple[str, ...] | list[str], options: str) -> str:
    return f"\n```{{toctree}}\n{options}\n\n" + "\n".join(pages) + "\n```\n"


def _operations() -> Iterator[str]:
    for path, methods in json.loads((ROOT / "schemas/openapi.json").read_text())["paths"].items():
        for method, operation in methods.items():
            yield f"\n## `{method.upper()} {path}`\n\n{operation['summary']} {operation.get('description', '')}\n"
            for each in operation["parameters"]:
                yield f"\n- `{each['name']}` ({each['in']}): {each.get('description', '')}"
            yield "\n\n| answer | holds |\n| --- | --- |\n"
            yield from (f"| {status} | {answer['description']} |\n" for status, answer in operation["responses"].items())


def _events() -> Iterator[str]:
    document = json.loads((ROOT / "schemas/asyncapi.json").read_text())
    messages = document["components"]["messages"]
    for topic, channel in document["channels"].items():
        yield f"\n## Topic `{topic}`\n\n{channel['description']}\n\n| event | meaning |\n| --- | --- |\n"
        yield from (f"| `{name}` | {messages[name]['summary']} |\n" for name in channel["messages"])


def _draw(fence: re.Match[str]) -> str:
    """Draw a diagram when the site is built, so that a reader's browser loads no library from another host."""
    drawing = mermaidx.render(fence[1]).svg().replace("my-svg", f"diagram-{fence.start()}")  # styles are bound to the id
    width = float(re.search(r'viewBox="\S+ \S+ (\S+) ', drawing)[1])
    drawing = drawing.replace("max-width:", f"min-width: {_READABLE * width:.0f}px; max-width:", 1)
    return '<div class="diagram" tabindex="0">' + re.sub(r"\n\s*\n", "\n", drawing) + "</div>\n"  # an empty line ends HTML


def _name_first_page(app: Sphinx, failure: Exception | None) -> None:
    if not failure:
        shutil.copy(app.outdir / "README.html", app.outdir / "index.html")
