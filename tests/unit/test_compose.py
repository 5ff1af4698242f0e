"""`docker-compose.yml` gives every process its settings, requires each secret once and publishes ports on loopback only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from gateway.settings import GatewaySettings
from ops.dev.processes import WORKERS
from ops.processes.worker import ROLES
from outbox.settings import KafkaSettings, RelaySettings, RetentionSettings
from projections.retention import RecordSettings
from schemas.partners import FIELDS, PartnerSettings
from streams.settings import CacheSettings, StreamSettings
from tests.compose import FILE, VARIABLE, Missing, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.settings import Settings

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = (ROOT / "env.example").read_text()
SECRETS: Final = ("STRIPE_WEBHOOK_SECRET", "INTERNAL_API_TOKEN", "ADMIN_API_TOKEN")
SET: Final = "".join(f"{name}=secret-{number}\n" for number, name in enumerate(SECRETS))
SERVERS: Final = {"postgres", "kafka", "redis", "elasticsearch", "prometheus", "grafana"}
READS: Final[dict[str, tuple[type[Settings], ...]]] = {
    "setup": (RetentionSettings, KafkaSettings),
    "gateway": (GatewaySettings,),
    "relay": (RelaySettings, RecordSettings),
    "worker": tuple(ROLES[role].settings for role in WORKERS),
}
SPLIT: Final[dict[str, tuple[type[Settings], ...]]] = {f"worker-{role}": (ROLES[role].settings,) for role in WORKERS}
# Values that only the Compose file has.
ITS_OWN: Final = {
    "DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "ELASTICSEARCH_URL",
    "PUBLIC_HOST", "INTERNAL_HOST", "RELAY_WEB_HOST", "STREAMS_WEB_HOST",
}  # fmt: skip
PORTS: Final = {"PUBLIC_PORT": 18080, "INTERNAL_PORT": 18081, "RELAY_WEB_PORT": 16060, "STREAMS_WEB_PORT": 16066}
OTHER_PORTS: Final = SET + "".join(f"{name}={port}\n" for name, port in PORTS.items())
each_process = pytest.mark.parametrize("process", sorted(READS | SPLIT))
each_layout = pytest.mark.parametrize("split", [False, True], ids=["one worker", "a worker for each role"])


def services(env_file: str, *, split: bool = False) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = resolve(env_file, split=split)["services"]
    return found


def of_workers(*, split: bool) -> dict[str, tuple[type[Settings], ...]]:
    return SPLIT if split else {"worker": READS["worker"]}


def published(service: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Address and port on the host, and the port in the container, of each mapping."""
    parts = [mapping.split(":") for mapping in service.get("ports", ())]
    return [(address, int(outside), int(inside)) for address, outside, inside in parts]


def test_every_process_and_server_is_a_service() -> None:
    assert services(SET).keys() == SERVERS | READS.keys()
    assert services(SET, split=True).keys() == SERVERS | (READS.keys() - {"worker"}) | SPLIT.keys()
    assert services(SET)["worker"]["command"] == ["worker", "all"]
    found = services(SET, split=True)
    assert [found[f"worker-{role}"]["command"] for role in WORKERS] == [["worker", role] for role in WORKERS]


@each_process
def test_a_process_reads_the_values_of_env(process: str) -> None:
    names = {name.upper() for kind in (READS | SPLIT)[process] for name in kind.model_fields} - {"PARTNERS"}
    others = {f"PARTNER_ACME{suffix}" for suffix in FIELDS} | {
        "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME", "SSL_CERT_FILE", "HTTPS_PROXY", "NO_PROXY",
    }  # fmt: skip
    given = {name: str(PORTS.get(name, f"given as {name}")) for name in names | others}
    reads = services(SET + "".join(f"{name}='{text}'\n" for name, text in given.items()), split=process in SPLIT)[process][
        "environment"
    ]
    assert {name: reads.get(name) for name in given.keys() - ITS_OWN} == {
        name: text for name, text in given.items() if name not in ITS_OWN
    }


def test_every_setting_that_is_listed_reaches_every_process() -> None:
    listed = {*re.findall(r"^#?([A-Z][A-Z0-9_]*)=", EXAMPLE, re.MULTILINE)} - ITS_OWN - PORTS.keys()
    text = "".join(f"{name}='given as {name}'\n" for name in listed)
    found = services(text) | services(text, split=True)
    for process in READS | SPLIT:
        assert {name for name in listed if found[process]["environment"].get(name) != f"given as {name}"} == set(), process


def test_settings_that_used_to_be_lost_reach_the_settings_records() -> None:
    found = services(f"{SET}CACHE_KEY_PREFIX=shop:\nRETENTION_DAYS=7\nSTREAMS_BATCH=50\nPARTNER_ACME_SECRET=abc\n")
    assert CacheSettings.load(found["worker"]["environment"]).cache_key_prefix == "shop:"
    assert RelaySettings.load(found["relay"]["environment"]).retention_days == 7
    assert RetentionSettings.load(found["setup"]["environment"]).retention_days == 7
    assert StreamSettings.load(found["worker"]["environment"]).streams_batch == 50
    assert PartnerSettings.load(found["worker"]["environment"]).partners.keys() == {"ACME"}


@each_process
def test_a_copy_of_env_example_with_its_secrets_is_enough_to_start(process: str) -> None:
    for text in (SET, EXAMPLE + SET):
        environment = services(text, split=process in SPLIT)[process]["environment"]
        for kind in (READS | SPLIT)[process]:
            assert kind.load(environment)


def overlay(file: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())["services"]
    return found


def test_secrets_in_files_reach_every_process_and_no_other_way() -> None:
    over = overlay("docker-compose.secrets.yml") | overlay("docker-compose.secrets.split.yml")
    assert over.keys() == (services(SET).keys() | services(SET, split=True).keys()) - SERVERS
    for service in over.values():
        assert service["environment"] == {"SECRETS_DIR": "/run/secrets", **dict.fromkeys(SECRETS, "")}
        assert service["volumes"] == ["./secrets:/run/secrets:ro"]


def test_without_secrets_one_message_names_all_that_is_missing() -> None:
    for text in (None, "", EXAMPLE, "STRIPE_WEBHOOK_SECRET=whsec_x\n"):
        with pytest.raises(Missing) as caught:
            resolve(text)
        assert "env.example" in str(caught.value)
        assert [name for name in SECRETS if name not in str(caught.value)] == []


def test_a_password_of_its_own_is_the_servers_and_the_processes() -> None:
    for text, password in ((SET, "onlyonloopback"), (f"{SET}POSTGRES_PASSWORD=abc123\n", "abc123")):
        found = services(text)
        assert found["postgres"]["environment"]["POSTGRES_PASSWORD"] == password
        urls = {found[process]["environment"]["DATABASE_URL"] for process in READS}
        assert urls == {f"postgresql://tallyhook:{password}@postgres:5432/tallyhook"}


@each_layout
@pytest.mark.parametrize("env_file", [SET, OTHER_PORTS], ids=["default ports", "other ports"])
def test_mappings_and_health_checks_follow_the_ports(env_file: str, split: bool) -> None:
    found = services(env_file, split=split)
    gateway = GatewaySettings.load(found["gateway"]["environment"])
    relay = RelaySettings.load(found["relay"]["environment"])
    assert published(found["gateway"]) == [("127.0.0.1", port, port) for port in (gateway.public_port, gateway.internal_port)]
    assert published(found["relay"]) == [("127.0.0.1", relay.relay_web_port, relay.relay_web_port)]
    listens = {"gateway": gateway.public_port, "relay": relay.relay_web_port}
    for process in of_workers(split=split):
        listens[process] = StreamSettings.load(found[process]["environment"]).streams_web_port
        assert [inside for *_, inside in published(found[process])] == [listens[process]]
    assert {process: int(found[process]["healthcheck"]["test"][-1]) for process in listens} == listens


@each_layout
def test_prometheus_scrapes_the_ports_that_are_set(split: bool) -> None:
    resolved = resolve(OTHER_PORTS, split=split)
    [mounted] = resolved["services"]["prometheus"]["configs"]
    reads = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert [each["file_sd_configs"][0]["files"] for each in reads] == [[mounted["target"]]]
    groups = yaml.safe_load(resolved["configs"][mounted["source"]]["content"])
    found = {target for group in groups for target in group["targets"]}
    assert found == {"gateway:18081", "relay:16060", *(f"{process}:16066" for process in of_workers(split=split))}
    jobs = {group["labels"]["job"] for group in groups}
    assert jobs == {"tallyhook-gateway", "tallyhook-relay", "tallyhook-worker"}


@each_layout
def test_ports_are_published_on_the_loopback_only_and_none_twice(split: bool) -> None:
    mappings = [mapping for service in services(SET, split=split).values() for mapping in published(service)]
    assert {address for address, *_ in mappings} == {"127.0.0.1"}
    assert len({outside for _, outside, _ in mappings}) == len(mappings) > 8


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_a_health_check_is_true(status: int | None, healthy: bool) -> None:
    with answering(status) as port:
        word, *command, _ = services(SET)["gateway"]["healthcheck"]["test"]
        assert (word, command[0]) == ("CMD", "python")
        proxied = {**os.environ, "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
        done = subprocess.run([sys.executable, *command[1:], str(port)], env=proxied, capture_output=True, check=False)
    assert (done.returncode == 0) == healthy


@contextmanager
def answering(status: int | None) -> Iterator[int]:
    """A port where /health/ready has this status, or where no server listens."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response((status or 500) if self.path == "/health/ready" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_port
        if status is None:
            server.server_close()
            yield port
            return
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield port
        server.shutdown()
        thread.join()


def test_variables_taken_from_the_environment_are_in_env_example_with_their_defaults() -> None:
    taken = {(match["name"], match["rule"], match["rest"]) for match in VARIABLE.finditer(FILE.read_text())}
    assert {rule for _, rule, _ in taken} == {":-", ":?"}
    assert {name for name, rule, _ in taken if rule == ":?"} == {*SECRETS}
    shown = {f"#{name}={rest}" if rule == ":-" else f"{name}=" for name, rule, rest in taken}
    assert sorted(shown - {*EXAMPLE.splitlines()}) == []


def test_the_build_gets_every_package_and_never_the_secrets() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    packages = re.search(r"^packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    for package in packages.replace('"', "").split(", "):
        assert f"COPY {package} {package}\n" in dockerfile
        assert f"!{package}" in allowed
    assert "*" in allowed
    assert not any(".env" in line for line in allowed if line.startswith("!"))
