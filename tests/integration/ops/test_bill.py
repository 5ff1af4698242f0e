"""The bill of materials names what the image is made of."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from ops.dev.checkout import write_bill
from tests.needs import missing

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).parents[3]


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
    told = {each["content"] for part in bill["components"] for place in part["externalReferences"] for each in place["hashes"]}
    assert told == set(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock))


def test_it_says_what_it_is_the_bill_of(bill: Mapping[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    component = bill["metadata"]["component"]
    assert (bill["bomFormat"], component["name"], component["version"]) == ("CycloneDX", project["name"], project["version"])
