"""`docker-compose.yml` asks for its secrets, opens nothing to the world and runs what `./dev up` runs; checked without Docker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ops.dev.processes import WORKERS

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = (ROOT / "docker-compose.yml").read_text()


def _services() -> set[str]:
    block = COMPOSE.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    return set(re.findall(r"^  ([a-z-]+):$", block, re.MULTILINE))


def test_every_process_and_server_is_a_service() -> None:
    ours = {"setup", "gateway", "relay", *(f"worker-{role}" for role in WORKERS)}
    assert _services() == {"postgres", "kafka", "redis", "elasticsearch", "prometheus", "grafana"} | ours


def test_ports_are_published_on_the_loopback_only() -> None:
    published = [port for line in re.findall(r"ports: \[(.*)\]", COMPOSE) for port in line.split(", ")]
    assert published
    assert [port for port in published if not port.startswith('"127.0.0.1:')] == []


def test_what_is_taken_from_the_environment_must_be_set_and_is_in_env_example() -> None:
    taken = re.findall(r"\$\{(\w+)([^}]*)\}", COMPOSE)
    example = (ROOT / "env.example").read_text()
    assert [name for name, rule in taken if not rule.startswith(":?")] == []
    assert [name for name, _ in taken if f"\n{name}=" not in example] == []


def test_the_build_gets_every_package_and_never_the_secrets() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    packages = re.search(r"^packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    for package in packages.replace('"', "").split(", "):
        assert f"COPY {package} {package}\n" in dockerfile
        assert f"!{package}" in allowed
    assert "*" in allowed
    assert not any(".env" in line for line in allowed if line.startswith("!"))
