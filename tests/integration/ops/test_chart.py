"""The chart: Helm renders it, Kubernetes accepts the result, and a wrong value is refused with a clear message."""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from ops.contracts import chart
from ops.dev.processes import WORKERS
from ops.settings.kinds import PROCESSES
from runtime import redaction
from runtime.secret_files import Environ
from tests.helm import CHART, HELM, faults, rendered, run

ROOT: Final = Path(__file__).parents[3]
VALUES: Final = tuple(sorted(path.name for path in (CHART / "ci").iterdir()))
KUBERNETES: Final = ("1.27", "1.29", "1.31", "1.33", "1.35", "1.37")
OPERATORS: Final = "monitoring.coreos.com/v1"
"""Objects of the Prometheus operator, whose schemas are not part of Kubernetes."""
# Refused values, and a part of the message that both versions of Helm print.
WRONG: Final = {
    "gateway.replicas=two": "gateway.*replicas.*(want integer|Expected: integer)",
    "gateway.replcas=2": "gateway.*replcas",
    "settings.BODY_MEMORY=1": "settings.*BODY_MEMORY.*string",
    "settings.STRIPE_API_KEY=rk_1": "settings.STRIPE_API_KEY is a secret: put it into the Secret tallyhook",
    "settings.ELASTICSEARCH_URL=https://me:word@host:9200": "settings.ELASTICSEARCH_URL has a user or a password in it",
    "settings.NOTIFY_SMS_URL=slack://one/two/three": "settings.NOTIFY_SMS_URL is an address that lets whoever knows it send",
    "settings.ALERT_WEBHOOK_URL=https://hooks.example/T0/B0/x": "settings.ALERT_WEBHOOK_URL is an address that lets",
    "settings.KAFKA_BOOTSTRAP_SERVRS=kafka:9092": "settings.KAFKA_BOOTSTRAP_SERVRS is no setting",
    "settings.POSTGRES_PORT=any": "settings.POSTGRES_PORT is no setting",
    "settings.PUBLIC_HOST=::1": "settings.PUBLIC_HOST is set by the chart",
    "gateway.autoscaling.minReplicas=9": "minReplicas 9 is above maxReplicas 6",
    "gateway.ports.internal=8080": "both listeners are on 8080",
    "gateway.ports.public=80": "gateway.*ports.*public.*1,?024|gateway.ports.public.*1024",
    "gateway.ingress.enabled=true": "gateway.*ingress.*host",
    "image.digest=latest": "image.*digest.*sha256",
    "relay.terminationGracePeriodSeconds=3": "relay.*terminationGracePeriodSeconds.*20",
    "workers.podDisruptionBudget.maxUnavailable=0": "podDisruptionBudget.*maxUnavailable.*1",
    "relay.resources.limits.memory=1Gb": "relay.*resources.*limits.*memory",
}

each_values = pytest.mark.parametrize("values", VALUES)
each_helm = pytest.mark.parametrize("version", HELM)


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pods of Deployments and Jobs, by the name of these."""
    return {name: each["spec"]["template"] for kind in ("Deployment", "Job") for name, each in of_kind(objects, kind).items()}


def container(pod: dict[str, Any]) -> dict[str, Any]:
    [found] = pod["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@each_helm
@each_values
def test_helm_takes_the_chart(version: str, values: str) -> None:
    done = run(version, "lint", "--strict", str(CHART), "--values", str(CHART / "ci" / values))
    assert done.returncode == 0, done.stdout + done.stderr


@each_values
def test_both_helms_make_the_same(values: str) -> None:
    first, second = (rendered(values, version=version) for version in HELM)
    assert first == second


@each_values
@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_kubernetes_takes_every_object(values: str, kubernetes: str) -> None:
    objects = [each for each in rendered(values) if each["apiVersion"] != OPERATORS]
    assert {each["kind"] for each in objects} >= {"Deployment", "Job", "Service", "PodDisruptionBudget"}
    assert [(each["kind"], each["metadata"]["name"], fault) for each in objects for fault in faults(each, kubernetes)] == []


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    [deployment, *_] = of_kind(rendered("defaults.yaml"), "Deployment").values()
    deployment["spec"]["template"]["spec"]["containers"][0]["enviroment"] = []
    assert any("enviroment" in fault for fault in faults(deployment, KUBERNETES[-1]))


@each_helm
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_value_is_refused_in_words(version: str, wrong: str) -> None:
    done = run(version, "template", "tallyhook", str(CHART), "--set", wrong)
    assert done.returncode != 0
    assert re.search(WRONG[wrong], done.stderr, re.DOTALL), done.stderr


def test_the_names_of_secrets_are_those_of_the_processes() -> None:
    known = redaction._SECRET_NAME.pattern
    ours = re.search(r'\$secret := "\^\((.*)\)\$"', (CHART / "templates/_checks.tpl").read_text())
    assert ours
    assert ours[1] == known.replace("?:", "").removeprefix("(").removesuffix(")")


def test_its_version_is_that_of_the_release() -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (described["version"], described["appVersion"]) == (version, version)


@each_values
def test_no_pod_has_more_rights_than_it_needs(values: str) -> None:
    for name, pod in pods(rendered(values)).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name  # a Service named `public` would set PUBLIC_PORT
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"requests", "limits"} == container(pod)["resources"].keys(), name


def test_the_account_is_that_of_the_image() -> None:
    [account] = re.findall(r"useradd .*--uid (\d+)", (ROOT / "Dockerfile").read_text())
    users = {pod["spec"]["securityContext"]["runAsUser"] for pod in pods(rendered("everything.yaml")).values()}
    assert users == {int(account)}


def test_there_is_a_process_of_each_kind_in_either_layout() -> None:
    def commands(values: str) -> dict[str, list[str]]:
        return {name.removeprefix("tallyhook-"): container(pod)["args"] for name, pod in pods(rendered(values)).items()}

    rest = {"gateway": ["gateway"], "relay": ["relay"], "migrate": ["migrate"], "topics": ["topics", "ensure"]}
    assert commands("defaults.yaml") == rest | {"worker": ["worker", "all"]}
    assert commands("everything.yaml") == rest | {f"worker-{role}": ["worker", role] for role in WORKERS}


def test_a_role_that_is_not_wanted_is_left_out() -> None:
    found = pods(rendered("defaults.yaml", "--set", "workers.roles.search.enabled=false"))["tallyhook-worker"]
    assert container(found)["args"] == ["worker", *sorted({*WORKERS} - {"search"})]


def test_migrations_come_first_and_have_secrets_of_their_own() -> None:
    jobs = of_kind(rendered("external-secured.yaml"), "Job")
    order = sorted(jobs, key=lambda name: int(jobs[name]["metadata"]["annotations"]["helm.sh/hook-weight"]))
    assert order == ["tallyhook-migrate", "tallyhook-topics"]
    secrets = {
        name: pod["spec"]["volumes"][0]["secret"]["secretName"] for name, pod in pods(rendered("external-secured.yaml")).items()
    }
    assert secrets.pop("tallyhook-migrate") == "tallyhook-owner"
    assert {*secrets.values()} == {"tallyhook-processes"}


def test_the_environment_of_a_container_has_only_documented_settings() -> None:
    given = {each["name"]: each["value"] for each in container(pods(rendered("defaults.yaml"))["tallyhook-gateway"])["env"]}
    known = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / "env.example").read_text(), re.MULTILINE)
    assert given.keys() <= {*known}
    assert f"{{name: SECRETS_DIR, value: {given['SECRETS_DIR']}}}" in (ROOT / "docs/secrets.md").read_text()


def test_every_setting_of_the_processes_is_one_of_the_chart() -> None:
    known = {*chart.FILE.read_text().split()}
    assert known == {*chart.names().decode().split()}, "stale: run `python -m ops.contracts.chart`"
    fields = {field.upper() for kinds in PROCESSES.values() for kind in kinds for field in kind.model_fields}
    assert fields - known == {"PARTNERS"}, "a partner's variables have its name"


@pytest.mark.parametrize(
    "name", ["PARTNER_ACME_CRM_URL", "KAFKA_SASL_PASSWORD_FILE", "OTEL_SERVICE_NAME", "PGSSLROOTCERT", "LEDGER_GRACE"]
)
def test_variables_of_partners_files_and_libraries_are_settings_too(name: str) -> None:
    objects = rendered("defaults.yaml", "--set", f"settings.{name}=x")
    assert name in {each["name"] for each in container(pods(objects)["tallyhook-relay"])["env"]}


def budgets(*options: str, values: str = "defaults.yaml") -> dict[str, Any]:
    """The component of each budget with its limit; every budget finds pods of one Deployment."""
    objects = rendered(values, *options)
    found = {}
    for name, each in of_kind(objects, "PodDisruptionBudget").items():
        wanted = each["spec"]["selector"]["matchLabels"].items()
        assert [pod for pod, its in pods(objects).items() if wanted <= its["metadata"]["labels"].items()] == [name]
        found[name.removeprefix("tallyhook-")] = each["spec"]["maxUnavailable"]
    return found


def test_every_deployment_of_more_than_one_replica_has_a_disruption_budget() -> None:
    assert budgets() == {"gateway": 1, "relay": 1, "worker": 1}
    several = {f"worker-{role}": 1 for role in ("leads", "notifications", "payments", "search")}
    assert budgets(values="everything.yaml") == {"gateway": 1, "relay": 1} | several
    fewer = ("--set", "relay.replicas=1", "--set", "workers.podDisruptionBudget.enabled=false")
    assert budgets(*fewer) == {"gateway": 1}
    assert budgets("--set-string", "relay.podDisruptionBudget.maxUnavailable=50%")["relay"] == "50%"


@each_helm
def test_a_setting_of_an_earlier_file_can_be_taken_away(version: str) -> None:
    objects = rendered("external-secured.yaml", "--set", "settings.KAFKA_SSL_CA=null", version=version)
    given = {each["name"] for each in container(pods(objects)["tallyhook-gateway"])["env"]}
    assert "KAFKA_SSL_CA" not in given
    assert "REDIS_SSL_CA" in given


def test_the_page_on_production_has_the_resources_of_the_chart() -> None:
    page = (ROOT / "docs/production.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for each in (values["gateway"], values["relay"], values["workers"]):
        wanted, limit = each["resources"]["requests"], each["resources"]["limits"]["memory"]
        assert f"| {wanted['cpu']}, {wanted['memory']}; {limit} |".replace("Mi", " MiB") in page


def test_the_page_on_production_has_the_patience_of_the_chart() -> None:
    page = (ROOT / "docs/production.md").read_text()
    found = pods(rendered("defaults.yaml"))
    for process in ("gateway", "relay", "worker"):
        patience = found[f"tallyhook-{process}"]["spec"]["terminationGracePeriodSeconds"]
        assert re.search(rf"^\| {process} \| {patience} s[ :]", page, re.MULTILINE), process


@each_values
def test_each_probe_requests_the_right_path(values: str) -> None:
    for name, each in of_kind(rendered(values), "Deployment").items():
        found = container(each["spec"]["template"])
        asked = {probe: found[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        port = "public" if name.endswith("gateway") else "web"  # the internal listener may require a client certificate
        live, ready = ({"path": f"/health/{word}", "port": port} for word in ("live", "ready"))
        assert asked == {"startupProbe": live, "livenessProbe": live, "readinessProbe": ready}
        assert port in {each["name"] for each in found["ports"]}
        # A restart comes later than the process reports itself as hanging, which it does after a minute.
        assert found["livenessProbe"]["periodSeconds"] * found["livenessProbe"]["failureThreshold"] >= 60


def test_the_patience_of_kubernetes_follows_that_of_the_gateway() -> None:
    options = ("--set", "gateway.shutdownDelaySeconds=20", "--set", "gateway.shutdownGraceSeconds=30")
    pod = pods(rendered("defaults.yaml", *options))["tallyhook-gateway"]
    assert pod["spec"]["terminationGracePeriodSeconds"] == 20 + 2 * 30 + 15
    given = {each["name"]: each["value"] for each in container(pod)["env"]}
    assert (given["SHUTDOWN_DELAY"], given["SHUTDOWN_GRACE"]) == ("20s", "30s")


@each_values
def test_every_service_and_policy_finds_its_pods(values: str) -> None:
    objects = rendered(values)
    found = pods(objects)
    for name, service in of_kind(objects, "Service").items():
        chosen = [pod for pod in found.values() if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()]
        assert len(chosen) == 1, name
        [port] = service["spec"]["ports"]
        assert port["targetPort"] in {each["name"] for each in container(chosen[0])["ports"]}, name
    covered: dict[str, list[str]] = defaultdict(list)
    for name, policy in of_kind(objects, "NetworkPolicy").items():
        [rule] = policy["spec"]["podSelector"]["matchExpressions"]
        for pod, each in found.items():
            if each["metadata"]["labels"][rule["key"]] in rule["values"]:
                covered[pod].append(name)
    assert {len(names) for names in covered.values()} <= {1}
    assert covered.keys() in (found.keys(), set())


def test_the_world_reaches_webhooks_and_nothing_else() -> None:
    objects = rendered("everything.yaml")
    [ingress] = of_kind(objects, "Ingress").values()
    [rule] = ingress["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/v1/webhooks"]
    kinds = {name: each["spec"].get("type", "ClusterIP") for name, each in of_kind(objects, "Service").items()}
    assert [name for name, kind in kinds.items() if kind != "ClusterIP"] == ["tallyhook-public"]


def test_prometheus_reads_every_process_under_the_names_that_the_rules_have() -> None:
    objects = rendered("everything.yaml")
    [monitor] = of_kind(objects, "ServiceMonitor").values()
    read = [each for each in of_kind(objects, "Service").values() if "tallyhook/job" in each["metadata"]["labels"]]
    assert monitor["spec"]["jobLabel"] == "tallyhook/job"
    assert monitor["spec"]["selector"]["matchExpressions"] == [{"key": "tallyhook/job", "operator": "Exists"}]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= read[0]["metadata"]["labels"].items()
    assert len(read) == 2 + len(WORKERS)
    ports = {each["port"] for each in monitor["spec"]["endpoints"]}
    assert {port["name"] for each in read for port in each["spec"]["ports"]} == ports
    jobs = {each["metadata"]["labels"]["tallyhook/job"] for each in read}
    used = set(re.findall(r"tallyhook-(?:gateway|relay|worker)\b", (ROOT / "docker-compose.yml").read_text()))
    assert jobs == used


def test_rules_and_dashboard_are_those_of_the_repository() -> None:
    objects = rendered("everything.yaml")
    [rules] = of_kind(objects, "PrometheusRule").values()
    assert rules["spec"] == yaml.safe_load((ROOT / "monitoring/prometheus/alerts.yml").read_text())
    text = of_kind(objects, "ConfigMap")["tallyhook-dashboard"]["data"]["tallyhook.json"]
    assert json.loads(text) == json.loads((ROOT / "monitoring/grafana/dashboards/tallyhook.json").read_text())


def test_the_secret_of_a_trial_is_one_that_the_processes_can_read(tmp_path: Path) -> None:
    [secret] = of_kind(rendered("everything.yaml"), "Secret").values()
    for name, text in secret["stringData"].items():
        (tmp_path / name).write_text(text)
    assert Environ({"SECRETS_DIR": str(tmp_path)}).files.texts == secret["stringData"]


@each_values
def test_it_has_no_secret_outside_the_secret(values: str) -> None:
    rest = [each for each in rendered(values) if each["kind"] != "Secret"]
    assert "trial-service" not in json.dumps(rest)
