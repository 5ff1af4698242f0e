"""Prometheus' own checker."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests import debian
from tests.needs import missing

_PACKAGES: Final = {"prometheus=2.42.0+ds-5+deb12u1": "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55"}


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The one on the PATH, or Debian's; where it cannot be had, a test that wants it is `missing` something."""
    if installed := shutil.which("promtool"):
        return Path(installed)
    try:
        return debian.unpacked("prometheus", _PACKAGES) / "usr" / "bin" / "promtool"
    except debian.Unavailable as error:
        missing(f"no promtool: {error}")
