"""The containers that the chart makes, run as processes against servers with TLS and passwords: from the Jobs to a payment."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from ops.stack.secure import SecureStack
from tests.helm import rendered
from tests.integration.ops.processes import SECRETS
from tests.mounts import Mount
from tests.pods import Pod, need_namespaces
from tests.ports import free_port
from tests.sender import post_stripe
from tests.simulators import stripe
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CERTIFICATES: Final = "/run/certificates/ca.pem"
DEPLOYMENTS: Final = ("gateway", "relay", "worker")
OPERATOR: Final = {"X-Internal-Token": SECRETS["ADMIN_API_TOKEN"]}
# Everything else comes from the values, such as the protocol of Kafka and the paths of certificates.
ADDRESSES: Final = ("KAFKA_BOOTSTRAP_SERVERS", "ELASTICSEARCH_URL")
IN_THE_SECRET: Final = ("DATABASE_URL", "KAFKA_SASL_PASSWORD", "REDIS_URL", "ELASTICSEARCH_API_KEY")
PORTS: Final = ("gateway.ports.public", "gateway.ports.internal", "relay.port", "workers.port")
_TRIES: Final = """
import os, tempfile
tempfile.TemporaryFile().close()
for place in ("/", "/run/secrets/tallyhook", "/run", "/var", os.environ["CHECKOUT"]):
    try:
        open(f"{place}/written", "w").close()
    except OSError as error:
        assert error.strerror == "Read-only file system", (place, error)
    else:
        raise AssertionError(f"{place} can be written")
[held] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")]
print(os.getuid(), os.getgid(), int(held, 16))
"""


@pytest.fixture(scope="module")
def stack(servers_dir: Path) -> Iterator[SecureStack]:
    need_namespaces()
    with SecureStack(servers_dir / "chart") as running:
        yield running


@pytest.fixture(scope="module")
def pods(stack: SecureStack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pod]:
    """The pods of the values for secured servers, by component; only addresses, ports and copies are this machine's."""
    given = stack.environment
    options = {f"settings.{name}": given[name] for name in ADDRESSES}
    options |= {"settings.KAFKA_REPLICATION_FACTOR": "1", "settings.KAFKA_MIN_INSYNC_REPLICAS": "1"}
    texts = [word for name, text in options.items() for word in ("--set-string", f"{name}={text}")]
    free = [word for name in PORTS for word in ("--set", f"{name}={free_port()}")]
    objects = rendered("external-secured.yaml", *texts, *free)
    folder = tmp_path_factory.mktemp("volumes")
    ca = stack.authority.ca
    of_processes = {name: _there(given[name], ca) for name in IN_THE_SECRET} | SECRETS
    mounts = {
        "tallyhook-processes": Mount(folder / "processes", **of_processes),
        "tallyhook-owner": Mount(folder / "owner", DATABASE_URL=_there(stack.migrating["DATABASE_URL"], ca)),
        "tallyhook-certificates": Mount(folder / "certificates", **{"ca.pem": ca.read_text()}),
    }
    found = {}
    for each in objects:
        if each["kind"] in {"Deployment", "Job"}:
            template: Mapping[str, Any] = each["spec"]["template"]
            component = template["metadata"]["labels"]["app.kubernetes.io/component"]
            (temporary := folder / f"tmp-{component}").mkdir()
            found[component] = Pod(template, {name: mount.folder for name, mount in mounts.items()} | {"temporary": temporary})
    return found


def _there(text: str, ca: Path) -> str:
    """Return the text with the path of the authority's file inside a container."""
    return text.replace(str(ca).replace("/", "%2F"), CERTIFICATES.replace("/", "%2F"))


def test_a_container_can_write_its_temporary_folder_and_nothing_else(pods: dict[str, Pod]) -> None:
    for pod in pods.values():
        done = pod.run("env", f"CHECKOUT={__file__.partition('/tests/')[0]}", "python", "-c", _TRIES)
        assert done.stdout.split() == ["10001", "10001", "0"], done.stderr


async def test_the_containers_take_a_webhook_to_its_payment(pods: dict[str, Pod], stack: SecureStack, tmp_path: Path) -> None:
    for job in ("migrate", "topics"):
        done = pods[job].run()
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    with ExitStack() as ends:
        proxy = stack.proxy("postgres")
        proxy.stop()
        processes = {name: ends.enter_context(pods[name].running(tmp_path / f"{name}.log")) for name in DEPLOYMENTS}
        # Without Postgres every process is alive, so that it is not restarted, and the processes that need it are not ready.
        for name in DEPLOYMENTS:
            wait_until(lambda name=name: pods[name].probe("livenessProbe") == 200)
        assert {pods[name].probe("readinessProbe") for name in ("gateway", "relay")} == {503}
        proxy.start()
        for name in DEPLOYMENTS:
            wait_until(lambda name=name: pods[name].probe("readinessProbe") == 200)
        assert {process.poll() for process in processes.values()} == {None}
        await _see_a_payment(pods["gateway"])
        _let_it_examine_itself(pods["gateway"])
        for process in processes.values():
            process.terminate()
        assert {name: process.wait(120) for name, process in processes.items()} == dict.fromkeys(DEPLOYMENTS, 0)


async def _see_a_payment(gateway: Pod) -> None:
    payment = stripe.Payment()
    public, internal = (f"http://127.0.0.1:{gateway.ports[name]}" for name in ("public", "internal"))
    async with aiohttp.ClientSession() as http:
        body = payment.succeeded(int(time.time()))
        answer = await post_stripe(http, public, body, secret=SECRETS["STRIPE_WEBHOOK_SECRET"])
        assert answer.status == 200

        async def is_there() -> bool | None:
            async with http.get(f"{internal}/v1/admin/payments/{payment.id}", headers=OPERATOR) as found:
                return found.status == 200 or None

        await eventually(is_there)


def _let_it_examine_itself(gateway: Pod) -> None:
    """Return the commands that the chart's notes give to an operator."""
    findings = json.loads(gateway.run("tallyhook", "doctor", "--json").stdout)["findings"]
    servers = {"postgres", "kafka", "redis", "elasticsearch"}
    assert {each["area"] for each in findings if each["level"] == "ok"} >= servers
    assert [each for each in findings if each["area"] in {*servers, "settings"} and each["level"] == "fail"] == []
