"""The documentation site fails on a broken link, and its pages ask no other host for anything."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from ops.dev.checkout import BUILD

CHECKOUT: Final = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of one page, with the real configuration."""
    for folder in ("docs", "streams", "schemas"):
        (tmp_path / folder).mkdir()
    for name in ("pyproject.toml", "docs/conf.py", "docs/site.css", "schemas/openapi.json", "schemas/asyncapi.json"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    listed = re.findall(r'"((?:docs|runbooks|monitoring|benchmarks)/[\w/]+|[A-Z]+)"', (CHECKOUT / "docs/conf.py").read_text())
    for name in listed:
        page = tmp_path / f"{name}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"# {name}\n")
    for folder in ("docs/decisions", "runbooks"):
        (tmp_path / folder / "one.md").write_text("# One\n")
    return tmp_path


def build(checkout: Path, text: str) -> subprocess.CompletedProcess[str]:
    (checkout / "README.md").write_text(f"# Here\n\n{text}\n")
    return subprocess.run(BUILD, cwd=checkout, capture_output=True, text=True, check=False)


def test_a_page_with_diagrams_and_folders_needs_no_other_host(checkout: Path) -> None:
    done = build(checkout, "[a folder](streams), [a file](pyproject.toml)\n\n```mermaid\nflowchart LR\n  one --> two\n```\n")
    assert (done.returncode, done.stderr) == (0, "")
    page = (checkout / "dist/docs/index.html").read_text()
    assert "<svg" in page
    assert ">two<" in page
    assert "a folder, " in page
    assert "streams" not in page
    assert re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//', page) == []


@pytest.mark.parametrize("link", ["[away](docs/gone.md)", "[away](gone.py)", "[away](docs/glossary.md#gone)"])
def test_a_broken_link_fails_the_build(checkout: Path, link: str) -> None:
    done = build(checkout, link)
    assert done.returncode != 0
    assert "gone" in done.stderr
