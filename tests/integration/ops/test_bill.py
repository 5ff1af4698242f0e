"""The bill of materials names all parts of the image, each of which exists for both platforms."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from ops.dev.checkout import write_bill
from tests.needs import missing

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).parents[3]
BUILT_THERE: Final = ("faust-streaming",)
"""Packages without a wheel for arm64, which pip builds from source there (docs/production.md)."""


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    checkout = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    shutil.copytree(ROOT / "requirements", checkout / "requirements")
    try:
        found: dict[str, Any] = json.loads(write_bill(checkout).read_text())
    except subprocess.CalledProcessError as error:
        missing(f"no bill: {error}")
    return found


def test_it_names_each_locked_package_with_its_version_and_hashes(bill: Mapping[str, Any]) -> None:
    lock = (ROOT / "requirements/runtime.lock").read_text()
    locked = sorted(re.findall(r"^([\w.-]+)==([^ ;]+)", lock, re.MULTILINE))
    assert sorted((each["name"], each["version"]) for each in bill["components"]) == locked
    assert {each["purl"].partition("?")[0] for each in bill["components"]} == {
        f"pkg:pypi/{name}@{version}" for name, version in locked
    }
    hashes = {each["content"] for part in bill["components"] for place in part["externalReferences"] for each in place["hashes"]}
    assert hashes == set(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock))


def test_it_names_what_it_is_the_bill_of(bill: Mapping[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    component = bill["metadata"]["component"]
    assert (bill["bomFormat"], component["name"], component["version"]) == ("CycloneDX", project["name"], project["version"])


def test_the_image_needs_no_compiler_on_arm64(tmp_path: Path) -> None:
    [python] = set(re.findall(r"^FROM python:([\d.]+)-", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    lock = (ROOT / "requirements/runtime.lock").read_text()
    for name in BUILT_THERE:
        lock, found = re.subn(rf"^{name}==.*?(?=^\S)", "", lock, flags=re.MULTILINE | re.DOTALL)
        assert found
    (tmp_path / "wanted.lock").write_text(lock)
    platforms = [word for glibc in ("2_17", "2_28", "2_36") for word in ("--platform", f"manylinux_{glibc}_aarch64")]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]
    where = ["--target", tmp_path / "nowhere", "--python-version", python, *platforms, "--requirement", tmp_path / "wanted.lock"]
    done = subprocess.run([*command, *where], capture_output=True, text=True, timeout=240, check=False)
    if done.returncode and "No matching distribution" not in done.stderr:
        missing(f"no look at wheels: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    assert done.returncode == 0, done.stderr
