"""The patches of docs/upstream apply to the installed libraries, and each has a test that fails without it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

PATCHES: Final = sorted((Path(__file__).parents[3] / "docs/upstream").glob("*.patch"))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_patch_fixes_the_fault_that_its_test_shows(patch: Path, tmp_path: Path) -> None:
    shutil.copytree(package_of(patch), tmp_path / package_of(patch).name)
    _apply(patch, tmp_path, "--include=tests/*")
    failed = _run(tmp_path)
    assert failed.returncode == 1, failed.stdout
    assert re.search(r"\b[1-9]\d* failed", failed.stdout)
    _apply(patch, tmp_path, "--exclude=tests/*")
    passed = _run(tmp_path)
    assert passed.returncode == 0, passed.stdout


def test_the_page_lists_every_patch() -> None:
    page = (PATCHES[0].parent / "README.md").read_text()
    assert sorted(re.findall(r"\]\(([\w-]+\.patch)\)", page)) == [patch.name for patch in PATCHES]


def package_of(patch: Path) -> Path:
    file = import_module(patch.name.partition("-")[0]).__file__
    assert file
    return Path(file).parent


def _apply(patch: Path, folder: Path, *words: str) -> None:
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    subprocess.run(["git", "apply", *words, str(patch)], cwd=folder, env=environment, check=True)  # noqa: S607  # whichever git the developer has


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the tests in the folder, with its copy of the package."""
    words = ("-q", "-n", "0", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder), "-o", "asyncio_mode=auto")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words, "tests"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
