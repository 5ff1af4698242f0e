"""A made-up provider, Acme Pay, in the files of CONTRIBUTING's recipe; `install` adds it to a copy of the sources."""

import shutil
import tomllib
from pathlib import Path
from typing import Final

_CHECKOUT: Final = Path(__file__).parents[2]
_FILES: Final = Path(__file__).parent
_REGISTRATION: Final = 'ProviderName = Literal["stripe", "razorpay"]'
FILES: Final = tuple(sorted(str(path.relative_to(_FILES)) for path in _FILES.glob("*/**/acme.py")))
"""The provider's own files, by their path in the sources."""


def install(folder: Path) -> None:
    """Copy the packages of the wheel to the folder, and add the provider: its own files, and one line that registers it."""
    project = tomllib.loads((_CHECKOUT / "pyproject.toml").read_text())
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        shutil.copytree(_CHECKOUT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(_FILES / name, folder / name)
    providers = folder / "schemas" / "providers.py"
    text = providers.read_text()
    assert text.count(_REGISTRATION) == 1
    providers.write_text(text.replace(_REGISTRATION, 'ProviderName = Literal["stripe", "razorpay", "acme"]'))
