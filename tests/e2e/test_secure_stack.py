"""The whole system on servers with TLS and passwords, as `./dev up --secure` starts them, by a role that owns nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from elasticsearch import Elasticsearch
from structlog.testing import capture_logs

from ops.demo.commands import index_document
from ops.demo.partner import partner_environment
from ops.dev.processes import TALLYHOOK
from ops.doctor.certificates import check_certificates
from ops.doctor.examination import examine
from ops.doctor.others import check_elasticsearch, check_redis
from ops.doctor.postgres import check_postgres
from ops.stack.authority import Authority
from ops.stack.child import Identity
from ops.stack.secure import SecureStack
from ops.stack.tls_proxies import ElasticsearchProxy, PostgresProxy, ValkeyProxy
from outbox.partitions import name
from runtime.schema import SchemaWatch
from runtime.servers import ElasticsearchSettings
from tests.clones import CHECKOUT
from tests.e2e.demonstrated import EFFECTS
from tests.e2e.test_alerts import OPERATORS
from tests.e2e.test_stripe_payment import state_of
from tests.secured import tls_listener
from tests.sender import post_razorpay, post_stripe
from tests.simulators import razorpay, stripe
from tests.system import ADMIN, System, running_system
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import aiohttp
    import requests

    from ops.doctor.findings import Finding


@pytest.fixture(scope="module")
def stack(servers_dir: Path) -> Iterator[SecureStack]:
    with SecureStack(servers_dir / "secure") as running:
        yield running


@pytest.fixture(scope="module")
def secured(stack: SecureStack) -> Iterator[System]:
    partner = partner_environment({"ADMIN_API_TOKEN": ADMIN["X-Internal-Token"]}, stack.ports.take("mail_sink", 0))
    with running_system(stack, together=True, **partner) as running:
        yield running


@pytest.fixture
def processes(secured: System) -> Iterator[psycopg.Connection]:
    """A connection as the role of the processes."""
    with psycopg.connect(secured.environment["DATABASE_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def strangers(tmp_path: Path) -> Authority:
    """An authority that no client trusts."""
    return Authority(tmp_path / "strangers")


def test_the_demo_shows_every_effect_of_a_payment_a_lead_and_commands(secured: System, stack: SecureStack) -> None:
    supervisor = Identity.of(os.getpid())
    stack.state.change(phase="ready", supervisor=supervisor, environment=secured.settings, processes=secured.states)
    command = [sys.executable, "-m", "ops.dev", "demo", "--data-dir", str(stack.data_dir)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = " ".join(done.stdout.split())  # without its line breaks
    for effect in ("Kafka: billing.payment.events, partition", *EFFECTS):
        assert effect in shown


async def test_a_razorpay_payment_has_its_effects(secured: System, http: aiohttp.ClientSession) -> None:
    payment = razorpay.Payment(amount=49_900)
    assert (await post_razorpay(http, secured.public, payment.captured(int(time.time())))).status == 200
    paid = await state_of(http, secured, f"payments/{payment.id}", status="succeeded")
    assert (paid["provider"], paid["amount"]) == ("razorpay", 49_900)


async def test_an_alert_is_mailed_to_the_operators(secured: System, http: aiohttp.ClientSession) -> None:
    body = stripe.Payment().created(int(time.time()))
    answers = [await post_stripe(http, secured.public, body, secret="whsec_wrong") for _ in range(45)]
    assert {answer.status for answer in answers} == {401}

    async def mailed() -> bool | None:
        async with http.get(secured.mail, params={"to": OPERATORS}) as answer:
            return "runbooks/signature-failures.md" in await answer.text() or None

    await eventually(mailed)


def test_the_doctor_finds_every_server_well(secured: System, tmp_path: Path) -> None:
    found = examine(secured.settings, tmp_path)
    servers = {"postgres", "kafka", "redis", "elasticsearch"}
    assert {each.area for each in found if each.level == "ok"} >= servers
    assert [each for each in found if each.area in servers and each.level == "fail"] == []


def test_a_lost_index_comes_back_over_tls(secured: System, stack: SecureStack, admin: requests.Session) -> None:
    environ = secured.environment
    settings = ElasticsearchSettings.load(environ)
    with Elasticsearch(settings.elasticsearch_url, **settings.elasticsearch_options) as index:
        name = index_document(admin, secured.internal, index).where.split()[-1]
        for concrete in index.indices.get(index="properties"):
            index.indices.delete(index=concrete)
        done = subprocess.run(
            [TALLYHOOK, "rebuild", "search", "--json"],
            env=environ | stack.migrating,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert index.exists(index="properties", id=name)


def test_elasticsearch_takes_a_user_with_a_password_too(secured: System, stack: SecureStack) -> None:
    entrance = stack.proxy("elasticsearch")
    assert isinstance(entrance, ElasticsearchProxy)
    environ = secured.environment | {"ELASTICSEARCH_URL": entrance.url_with_user, "ELASTICSEARCH_API_KEY": ""}
    assert {each.level for each in check_elasticsearch(environ)} == {"ok"}
    wrong = finding(
        check_elasticsearch, environ | {"ELASTICSEARCH_URL": entrance.url_with_user.replace(entrance.password, "hunter2")}
    )
    assert "it refuses these credentials" in wrong.text


def test_the_role_of_the_processes_owns_nothing_and_cannot_change_the_schema(processes: psycopg.Connection) -> None:
    mine = "select count(*) from pg_class where relowner = (select oid from pg_roles where rolname = current_user)"
    assert processes.execute("select current_user").fetchone() == ("tallyhook",)
    assert processes.execute(mine).fetchone() == (0,)
    for statement in (
        "drop table payments",
        "alter table payments add column more text",
        "create table more (id int)",
        "truncate outbox",
        "select day_drop('payments', '2020-01-01')",
    ):
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException)):
            processes.execute(statement.encode())


def test_the_role_of_the_processes_keeps_the_days(secured: System, processes: psycopg.Connection) -> None:
    day = datetime.now(UTC).date() + timedelta(days=6)
    partition = name("outbox", day)
    with psycopg.connect(secured.database_url, autocommit=True) as owner:
        owner.execute(f"drop table {partition}".encode())
    environ = secured.settings | {"RETENTION_DAYS": "1"}
    done = subprocess.run([TALLYHOOK, "retention", "--yes"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert processes.execute("select to_regclass(%s) is not null", (partition,)).fetchone() == (True,)
    assert processes.execute("select count(*) from detached_partitions").fetchone() != (0,)
    again = subprocess.run([TALLYHOOK, "retention"], env=environ | {"RETENTION_DAYS": "30"}, capture_output=True, check=False)
    assert again.returncode == 0
    assert processes.execute("select count(*) from detached_partitions").fetchone() == (0,)


def finding(check: Callable[[dict[str, str]], Iterator[Finding]], environ: dict[str, str]) -> Finding:
    [found] = [each for each in check(environ) if each.level == "fail"]
    assert "hunter2" not in str(found)
    return found


def test_a_fault_of_postgres_is_reported_in_plain_words(secured: System, stack: SecureStack, strangers: Authority) -> None:
    entrance = stack.proxy("postgres")
    assert isinstance(entrance, PostgresProxy)
    url = entrance.url

    def problem_of(changed: str) -> str:
        found = finding(check_postgres, secured.environment | {"DATABASE_URL": changed})
        return f"{found.text}: {found.act}"

    assert "it refuses this user or password" in problem_of(url.replace(entrance.password, "hunter2"))
    assert "its certificate is not trusted (" in problem_of(
        f"{url.partition('?')[0]}?sslmode=verify-full&sslrootcert={strangers.ca}"
    )
    assert "takes connections with TLS only" in problem_of(url.partition("?")[0] + "?sslmode=disable")
    assert "it does not use TLS" in problem_of(f"{stack.postgres.url}?sslmode=require")
    assert "it has no such database" in problem_of(entrance.url_of("tallyhook", entrance.password, "other"))
    with psycopg.connect(secured.database_url, autocommit=True) as owner:
        owner.execute("revoke select on outbox_pending from tallyhook")
        try:
            assert "the role lacks a right (permission denied for table outbox_pending)" in problem_of(url)
            assert "tallyhook grants" in problem_of(url)
        finally:
            owner.execute("grant select on outbox_pending to tallyhook")


def test_an_expired_certificate_is_called_that(secured: System, stack: SecureStack, tmp_path: Path) -> None:
    old = Authority(tmp_path / "old", expires=datetime.now(UTC) - timedelta(days=1))
    entrance, cache = stack.proxy("postgres"), stack.proxy("redis")
    assert isinstance(entrance, PostgresProxy)
    assert isinstance(cache, ValkeyProxy)
    with tls_listener("postgres", stack.postgres.port, old) as port:
        url = entrance.url.replace(f":{entrance.port}/", f":{port}/").partition("?")[0]
        url += f"?sslmode=verify-full&sslrootcert={old.ca}"
        assert "certificate has expired" in finding(check_postgres, secured.environment | {"DATABASE_URL": url}).text
        assert "Postgres at" in of_certificates(secured, DATABASE_URL=url)
        assert "certificate has expired" in log_of_who_waits_for(url)
    with tls_listener("tls", stack.redis.port, old) as port:
        url = cache.url.replace(f":{cache.port}/", f":{port}/")
        found = finding(check_redis, secured.environment | {"REDIS_URL": url, "REDIS_SSL_CA": str(old.ca)})
        assert "its certificate has expired" in found.text
        assert "Redis at" in of_certificates(secured, REDIS_URL=url)
    with tls_listener("tls", stack.elasticsearch.port, old) as port:
        url = f"https://127.0.0.1:{port}"
        found = finding(
            check_elasticsearch, secured.environment | {"ELASTICSEARCH_URL": url, "ELASTICSEARCH_SSL_CA": str(old.ca)}
        )
        assert "its certificate has expired" in found.text
        assert "Elasticsearch at" in of_certificates(secured, ELASTICSEARCH_URL=url)


def log_of_who_waits_for(url: str) -> str:
    """The line of any process whose Postgres is at this address."""
    with capture_logs() as lines:
        watch = SchemaWatch(url, "test")
        watch.start()
        wait_until(lambda: lines)
        watch.stop()
    return str(lines[0]["error"])


def of_certificates(secured: System, **changes: str) -> str:
    """The one certificate that has expired, in the doctor's words."""
    found = finding(check_certificates, secured.environment | changes)
    assert "the certificate has expired" in found.text
    return found.text


def test_each_server_with_a_certificate_is_reported_with_its_expiry(secured: System) -> None:
    found = [*check_certificates(secured.environment)]
    assert {each.level for each in found} == {"ok"}
    assert {each.text.split(" at ")[0] for each in found} == {"Postgres", "Kafka", "Redis", "Elasticsearch"}


def test_a_certificate_that_soon_expires_is_a_warning(secured: System, stack: SecureStack, tmp_path: Path) -> None:
    soon = Authority(tmp_path / "soon", expires=datetime.now(UTC) + timedelta(days=13))
    cache = stack.proxy("redis")
    assert isinstance(cache, ValkeyProxy)
    with tls_listener("tls", stack.redis.port, soon) as port:
        url = cache.url.replace(f":{cache.port}/", f":{port}/")
        [found] = [each for each in check_certificates(secured.environment | {"REDIS_URL": url}) if each.level == "warn"]
    assert f"Redis at 127.0.0.1:{port}: the certificate expires soon" in found.text


def test_faults_of_redis_and_elasticsearch_are_reported_in_plain_words(secured: System, strangers: Authority) -> None:
    environ = secured.environment
    cache, index = environ["REDIS_URL"], environ["ELASTICSEARCH_URL"]
    password = cache.partition("@")[0].rpartition(":")[2]
    for change, words in (
        ({"REDIS_URL": cache.replace(password, "hunter2")}, "it refuses this user or password"),
        ({"REDIS_SSL_CA": str(strangers.ca)}, "its certificate is not trusted"),
        ({"REDIS_URL": cache.replace("rediss", "redis"), "REDIS_SSL_CA": ""}, "as a server does that expects TLS"),
    ):
        assert words in finding(check_redis, environ | change).text
    for change, words in (
        ({"ELASTICSEARCH_API_KEY": "aHVudGVyMg=="}, "it refuses these credentials"),
        ({"ELASTICSEARCH_SSL_CA": str(strangers.ca)}, "its certificate is not trusted"),
        ({"ELASTICSEARCH_URL": index.replace("https", "http"), "ELASTICSEARCH_SSL_CA": ""}, "as a server does that expects TLS"),
    ):
        assert words in finding(check_elasticsearch, environ | change).text
