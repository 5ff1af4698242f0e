"""Links in the documents work, and the documents name only existing ones."""

import ast
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import projections.alert_tables
import projections.config_tables
import projections.endpoint_tables
import projections.leads
import projections.notifications
import projections.partner_tables
import projections.search
import projections.stripe_fetches
import projections.tables  # noqa: F401  # declares its tables on the shared metadata
from outbox.tables import metadata

CHECKOUT: Final = Path(__file__).parents[2]
_LINK: Final = re.compile(r"\[[^\]]*\]\((?!https?://|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
_OUTSIDE: Final = re.compile(r"contract section|design section|section \d+ of the (?:contract|design)|names of the design")


def _listed(*patterns: str) -> list[Path]:
    names = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns),  # noqa: S607  # whichever git the developer has
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [CHECKOUT / name for name in names.splitlines() if (CHECKOUT / name).exists()]


DOCUMENTS: Final = _listed("*.md")


def _anchors(document: Path) -> set[str]:
    """The headings of a document as a forge makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_of_a_document_leads_to_something(document: Path) -> None:
    for target, anchor in _LINK.findall(document.read_text()):
        found = (document.parent / target).resolve() if target else document
        assert found.exists(), f"{document.name} links to {target}, which is not there"
        if anchor and found.suffix == ".md":
            assert anchor[1:] in _anchors(found), f"{target or document.name} has no heading for {anchor}"


def test_nothing_cites_a_document_that_is_not_in_the_repository() -> None:
    citing = [path for path in _listed("*.py", "*.toml", "*.md") if path != Path(__file__) and _OUTSIDE.search(path.read_text())]
    assert citing == []


def test_every_decision_is_on_the_index() -> None:
    pages = {path.name for path in (CHECKOUT / "docs/decisions").glob("0*.md")}
    index = (CHECKOUT / "docs/decisions/README.md").read_text()
    assert {name for name in pages if f"({name})" in index} == pages


def test_every_table_is_on_the_architecture_page() -> None:
    page = (CHECKOUT / "docs/architecture.md").read_text()
    assert [name for name in sorted(metadata.tables) if f"`{name}`" not in page] == []


def test_every_python_that_is_claimed_is_tested_the_images_among_them() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    claimed = [
        each.rpartition(" ")[2] for each in project["classifiers"] if each.startswith("Programming Language :: Python :: 3.")
    ]
    matrix = re.search(r"python: (\[.*?\])", (CHECKOUT / ".github/workflows/ci.yml").read_text())
    assert matrix
    assert json.loads(matrix[1]) == claimed
    assert project["requires-python"] == f">={claimed[0]}"
    assert set(re.findall(r"^FROM python:([\d.]+)-", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)) <= set(claimed)


@pytest.mark.parametrize(("lock", "extras"), [("runtime", {"otel"}), ("dev", {"otel", "local", "docs", "dev"})])
def test_a_lock_satisfies_the_dependencies_of_the_project(lock: str, extras: set[str]) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [each for extra in extras for each in project["optional-dependencies"][extra]]
    text = (CHECKOUT / f"requirements/{lock}.lock").read_text()
    locked = {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^ ;]+)", text, re.MULTILINE)}
    needs = [Requirement(each) for each in wanted]
    assert [str(need) for need in needs if not need.specifier.contains(locked.get(canonicalize_name(need.name), "0"))] == []


def test_each_release_has_its_section_and_its_commit_and_none_is_newer_than_the_version() -> None:
    releases = [line.split() for line in (CHECKOUT / "RELEASES").read_text().splitlines() if line.startswith("v")]
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    newest_first = [Version(name) for name, _, _ in releases]
    assert newest_first == sorted(newest_first, reverse=True)
    assert newest_first[0] <= Version(version)
    changelog = (CHECKOUT / "CHANGELOG.md").read_text()
    for name, commit, day in releases:
        assert f"## [{name.removeprefix('v')}] - {day}\n" in changelog
        assert re.fullmatch("[0-9a-f]{40}", commit)
        if _git("rev-parse", "--is-shallow-repository") == "false":
            assert _git("merge-base", commit, "HEAD") == commit, f"{name} is not in the history of this commit"


def _git(*arguments: str) -> str:
    return subprocess.run(("git", *arguments), cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607  # whichever git the developer has


RIDDLE: Final = re.compile(r"(?:What|Whether|Where|Who|Whose|Of|That|Which|How|When|As)\b")


def test_every_docstring_opens_with_its_subject_or_its_verb() -> None:
    """A docstring that opens with a question word leaves its reader to guess what is described (CONTRIBUTING)."""
    found = []
    for path in _listed("*.py", ":!tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if RIDDLE.match(text):
                    found.append(f"{path.relative_to(CHECKOUT)}: {text.splitlines()[0]}")
    assert found == []


def test_pictures_are_small_and_each_is_shown() -> None:
    """A picture stays in every clone for ever: `python -m tests.picture` refuses a large one."""
    pages = "\n".join(path.read_text() for path in _listed("*.md"))
    for path in _listed("*.png"):
        assert path.stat().st_size <= 150_000, path
        assert path.read_bytes().startswith(b"\x89PNG"), path
        assert f"({path.relative_to(CHECKOUT)})" in pages, path


def test_routes_and_commands_run_no_statement() -> None:
    outer = _listed("*/routes.py", "*/command.py", "ops/commands/*.py", "ops/processes/*.py")
    assert len(outer) > 30
    assert [str(path.relative_to(CHECKOUT)) for path in outer if ".execute(" in path.read_text()] == []
