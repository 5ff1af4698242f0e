"""CONTRIBUTING names every place that a payment provider touches, and no other."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from tests import third_provider

ROOT: Final = Path(__file__).parents[2]
RECIPE: Final = (ROOT / "CONTRIBUTING.md").read_text().partition("### A payment provider")[2].partition("\n6. ")[0]
PLACES: Final = tuple(re.findall(r"`([\w<>/]+\.(?:py|example))`", RECIPE))
DOCUMENTS: Final = ("*.md", "schemas/*.json", "deploy/helm/tallyhook/files/settings.txt", "monitoring/prometheus/alerts.test.yml")
"""Documents, files that `ops.contracts` writes, and tests."""


def files_that_name(provider: str) -> set[str]:
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True)  # noqa: S607  # git is where the PATH says
    names = [name for name in listed.stdout.splitlines() if not name.startswith("tests/")]
    names = [name for name in names if not any(fnmatchcase(name, each) for each in DOCUMENTS)]
    return {name for name in names if provider in (ROOT / name).read_bytes().decode(errors="replace").lower()}


def places_of(provider: str) -> set[str]:
    """The places of the recipe; a provider may have more files beside those that are named after it."""
    named = [place.replace("<provider>.py", f"{provider}*.py") for place in PLACES]
    return {str(path.relative_to(ROOT)) for each in named for path in ROOT.glob(each)}


def test_a_provider_is_named_in_the_places_of_the_recipe_alone() -> None:
    assert files_that_name("razorpay") == places_of("razorpay")


def test_the_made_up_provider_has_the_files_of_the_recipe() -> None:
    own = [place.replace("<provider>", "acme") for place in PLACES if "<provider>" in place]
    assert sorted(own) == sorted(third_provider.FILES)
