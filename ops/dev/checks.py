"""The static checks of the checkout: all of them run, each reports ok or failed, and a failed one shows its output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.dev.docs import BUILD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PYTHON = sys.executable
CHECKS: Final[dict[str, Sequence[str]]] = {
    "lint (ruff check)": (_PYTHON, "-m", "ruff", "check", "."),
    "format (ruff format)": (_PYTHON, "-m", "ruff", "format", "--check", "."),
    "types (mypy --strict)": (_PYTHON, "-m", "mypy"),
    "imports (import-linter)": (str(Path(_PYTHON).with_name("lint-imports")),),
    "schemas (compatibility)": (_PYTHON, "-m", "ops.contracts.compatibility"),
    "contract (AsyncAPI)": (_PYTHON, "-m", "ops.contracts.asyncapi", "--check"),
    "contract (OpenAPI)": (_PYTHON, "-m", "ops.contracts.openapi", "--check"),
    "contract (Postman)": (_PYTHON, "-m", "ops.contracts.postman", "--check"),
    "documentation (sphinx)": BUILD,
}


def run_checks(checkout: Path, say: Callable[[str], None], checks: Mapping[str, Sequence[str]] = CHECKS) -> bool:
    """Run every check in the checkout, report each, and return True if all passed."""
    passed = True
    for name, command in checks.items():
        done = subprocess.run(command, cwd=checkout, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        say(f"{name}: {'failed' if done.returncode else 'ok'}")
        if done.returncode:
            passed = False
            say(done.stdout.rstrip())
    return passed
