"""
The checkout's own tools: its static checks, its documentation site, its test suite, its locks and its bill of materials.

Sphinx makes the site from the Markdown pages of the repository (`docs/conf.py`). The locks of `requirements/` hold names,
versions and hashes, but no index, so that they work with a mirror as well.
"""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_SITE: Final = "dist/docs"
# Strict: a link to a missing page, file or heading, or a page that no list names, fails the build.
BUILD: Final = (
    *(sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--conf-dir", "docs"),
    *("--doctree-dir", "dist/doctrees", ".", _SITE),
)


def build_docs(checkout: Path) -> Path | None:
    """Build the site and return its folder, or None after Sphinx has printed the faults."""
    done = subprocess.run(BUILD, cwd=checkout, check=False)
    return None if done.returncode else checkout / _SITE


def serve(site: Path, port: int, print_line: Callable[[str], None]) -> None:
    """Serve the site on the loopback until Ctrl-C; port 0 takes a free one."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print_line(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print_line("")


_PYTHON = sys.executable
CHECKS: Final[dict[str, Sequence[str]]] = {
    "lint (ruff check)": (_PYTHON, "-m", "ruff", "check", "."),
    "format (ruff format)": (_PYTHON, "-m", "ruff", "format", "--check", "."),
    "types (mypy --strict)": (_PYTHON, "-m", "mypy"),
    "imports (import-linter)": (str(Path(_PYTHON).with_name("lint-imports")),),
    "migrations (one chain)": (_PYTHON, "-m", "ops.contracts.revisions"),
    "schemas (compatibility)": (_PYTHON, "-m", "ops.contracts.compatibility"),
    "contract (AsyncAPI)": (_PYTHON, "-m", "ops.contracts.asyncapi", "--check"),
    "contract (OpenAPI)": (_PYTHON, "-m", "ops.contracts.openapi", "--check"),
    "contract (Postman)": (_PYTHON, "-m", "ops.contracts.postman", "--check"),
    "chart (settings)": (_PYTHON, "-m", "ops.contracts.chart", "--check"),
    "vendored files (digests)": (_PYTHON, "-m", "ops.vendored", "--check"),
    "documentation (sphinx)": BUILD,
}


def run_checks(checkout: Path, print_line: Callable[[str], None], checks: Mapping[str, Sequence[str]] = CHECKS) -> bool:
    """Run every check in the checkout, report each, and return True if all passed."""
    passed = True
    for name, command in checks.items():
        done = subprocess.run(command, cwd=checkout, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        print_line(f"{name}: {'failed' if done.returncode else 'ok'}")
        if done.returncode:
            passed = False
            print_line(done.stdout.rstrip())
    return passed


FAST: Final = ("tests/unit", "tests/integration")
WHOLE: Final = (*FAST, "tests/e2e", "tests/faults")
_PYTEST: Final = (sys.executable, "-m", "pytest")
_MOST: Final = 4  # processes; each brings its own servers, of about 1.5 GB


def run_suite(checkout: Path, *, fast: bool, coverage: bool) -> int:
    """
    Run all tests, or those without whole systems, and return the exit code of pytest.

    `coverage` measures what the processes of the tests themselves run, which costs 70 % more processor time on Python 3.11.

    Files run side by side, each in one process (`tests/sharing.py`). Whole systems mostly wait, so with them there is one process
    more than there are processors.
    """
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C goes to pytest too, which stops its servers: wait for that
    processes = min((os.cpu_count() or 1) + (not fast), _MOST)
    options = ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder", "--durations", "20"]
    if coverage:
        options += ["--cov", "--cov-report", "term:skip-covered"]
    # Hundreds of processes start in a run: none of them should compile our modules again.
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run([*_PYTEST, *options, *(FAST if fast else WHOLE)], cwd=checkout, env=environment, check=False).returncode


_UV: Final = "uv>=0.13,<0.14"
_OPTIONS: Final = (
    "--universal",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-header",
    "--quiet",
)


class Lock(NamedTuple):
    """A file below `requirements/` and its source; `names` go to the standard input of a source that is `-`."""

    file: str
    source: Sequence[str]
    names: str = ""


LOCKS: Final = (
    Lock("runtime.lock", ("pyproject.toml", "--extra", "otel")),
    Lock("dev.lock", ("pyproject.toml", "--all-extras", "-c", "requirements/runtime.lock")),
    Lock("build.lock", ("-", "-c", "requirements/dev.lock"), "hatchling"),
    Lock("generators.lock", ("requirements/generators.in",)),
)


def write_locks(checkout: Path, print_line: Callable[[str], None], *, upgrade: bool) -> None:
    """Write every lock; a version that is locked stays, unless `upgrade` is set or a limit in `pyproject.toml` excludes it."""
    with tempfile.TemporaryDirectory() as folder:
        # uv is needed here alone, and is larger than everything else that a developer installs.
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, _UV], check=True)
        for lock in LOCKS:
            command = [f"{folder}/bin/uv", "pip", "compile", *lock.source, *_OPTIONS, "-o", f"requirements/{lock.file}"]
            subprocess.run([*command, *(["--upgrade"] if upgrade else [])], cwd=checkout, input=lock.names, text=True, check=True)
            print_line(f"wrote requirements/{lock.file}")


BILL: Final = "dist/sbom.cdx.json"
_CYCLONEDX: Final = "cyclonedx-bom>=7.5,<8"


def write_bill(checkout: Path) -> Path:
    """Write the bill of materials of the image in CycloneDX: each package of `runtime.lock` with its version and hashes."""
    bill = checkout / BILL
    bill.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, _CYCLONEDX], check=True)
        subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "requirements/runtime.lock"),
                *("--pyproject", "pyproject.toml", "--output-reproducible", "--output-file", bill),
            ],
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": folder},
            check=True,
        )
    return bill
