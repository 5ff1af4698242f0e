"""Behind a company's CA, its proxy and its mirror, downloads and calls work, or fail soon with a clear message."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch, TransportError

from operations.backfill.stripe_api import StripeApiError, StripeEvents
from operations.reconcile.lists import StripeLists
from ops.stack.maven import ensure_jars
from runtime.ids import new_id
from runtime.outgoing import VARIABLES, configure_network, elasticsearch_tls_options
from runtime.settings import Secret
from schemas.partners import Partner
from schemas.stripe_snapshots import KINDS
from streams.leads.crm import opened_crm
from streams.leads.decisions import Answer as Answered
from streams.leads.delivery_store import Claimed
from streams.notifications.mails import Message
from streams.notifications.senders import ProviderSender, SendFailed
from streams.notifications.texts import Text
from streams.payments.fetching.api import opened_api
from streams.payments.fetching.store import Wanted
from tests.company import NAME, Answer, Company, company

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

JAR: Final = b"the text of a jar " * 1000
NAMES: Final = ("one", "two", "three")
MOST: Final = 4
"""How often a jar may be requested, with all retries."""
_FETCH: Final = f"""
import sys
from pathlib import Path
from ops.stack import maven
from ops.stack import StackError
from ops.stack.server import Surroundings
from runtime.redaction import redacted
maven._PINS = Path(sys.argv[1])
try:
    print(maven.{ensure_jars.__name__}("fake", "fake", Surroundings()))
except StackError as error:
    sys.exit(f"dev: {{redacted(str(error))}}")
"""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Company]:
    with company(tmp_path) as running:
        yield running


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return this environment without any setting of the network."""
    for name in {*VARIABLES, *map(str.lower, VARIABLES), "CURL_CA_BUNDLE"}:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


class Fetched:
    """The result of `up` fetching its jars, here three pinned ones, in a separate process."""

    def __init__(self, folder: Path, mirror: str, dotenv: str = "", **environment: str) -> None:
        (folder / "jars.toml").write_text(
            "[fake]\n" + "".join(f'"com.example:{name}:1" = "{hashlib.sha256(JAR).hexdigest()}"\n' for name in NAMES)
        )
        (folder / ".env").write_text(dotenv)
        known = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(Path.cwd()), "TALLYHOOK_MAVEN_MIRROR": mirror}
        done = subprocess.run(
            [sys.executable, "-c", _FETCH, folder / "jars.toml"],
            cwd=folder, env={name: text for name, text in (known | environment).items() if text},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self.output = done.stdout + done.stderr
        self.jars = sorted(path.read_bytes() for path in (folder / ".cache/tallyhook/jars").glob("fake-*/*.jar"))
        self.whole = done.returncode == 0 and self.jars == [JAR] * 3
        assert "Traceback" not in self.output, self.output
        assert "s3cret" not in self.output, self.output


def serve_jars(request: BaseHTTPRequestHandler) -> Answer:
    name = request.path.split("/")[-3]
    there = request.path == f"/maven/com/example/{name}/1/{name}-1.jar"
    return Answer(200, JAR) if there else Answer(404)


def test_the_certificates_that_ssl_cert_file_names_are_trusted(network: Company, tmp_path: Path) -> None:
    network.web.answer = serve_jars
    fetched = Fetched(tmp_path, f"https://{network.web.host}/maven", SSL_CERT_FILE=str(network.ca))
    assert fetched.whole, fetched.output
    assert {headers["User-Agent"].partition("/")[0] for *_, headers in network.web.requests} == {"Tallyhook"}


def test_the_network_settings_of_env_count(network: Company, tmp_path: Path) -> None:
    network.web.answer = serve_jars
    dotenv = f"SSL_CERT_FILE={network.ca}\nHTTPS_PROXY={network.proxy.url}\nTALLYHOOK_MAVEN_MIRROR=https://{NAME}/maven/\n"
    assert Fetched(tmp_path, "", dotenv).whole
    assert set(network.proxy.wanted) == {f"{NAME}:443"}


def test_an_untrusted_certificate_is_reported_and_not_requested_again(network: Company, tmp_path: Path) -> None:
    mirror = f"https://user:s3cret@{network.web.host}/maven"
    fetched = Fetched(tmp_path, mirror)
    assert not fetched.jars
    assert f"the certificate of https://{network.web.host} is not trusted by this machine" in fetched.output
    assert "SSL_CERT_FILE" in fetched.output
    assert network.web.connections <= len(NAMES)
    assert "there is no such file" in Fetched(tmp_path, mirror, SSL_CERT_FILE=str(tmp_path / "missing.pem")).output


def test_the_proxy_is_gone_through_with_its_password(network: Company, tmp_path: Path) -> None:
    network.web.answer = serve_jars
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        cache = tmp_path / name
        cache.mkdir()
        fetched = Fetched(cache, f"https://{NAME}/maven", SSL_CERT_FILE=str(network.ca), **{name: network.proxy.url})
        assert fetched.whole, fetched.output
    assert set(network.proxy.wanted) == {f"{NAME}:443"}


def test_a_proxy_that_refuses_is_named(network: Company, tmp_path: Path) -> None:
    proxy = network.proxy.url.replace("s3cret%3Aword", "s3cret-that-is-wrong")
    fetched = Fetched(tmp_path, f"https://{NAME}/maven", SSL_CERT_FILE=str(network.ca), HTTPS_PROXY=proxy)
    assert f"the proxy http://127.0.0.1:{network.proxy.port} does not let us through" in fetched.output
    assert "407" in fetched.output
    assert len(network.proxy.wanted) <= len(NAMES) * MOST


def test_an_untrusted_certificate_behind_the_proxy_is_reported(network: Company, tmp_path: Path) -> None:
    fetched = Fetched(tmp_path, f"https://{NAME}/maven", HTTPS_PROXY=network.proxy.url)
    assert f"the certificate of https://{NAME} is not trusted" in fetched.output


def test_addresses_on_the_loopback_are_fetched_directly(network: Company, tmp_path: Path) -> None:
    network.web.answer = serve_jars
    mirror = f"https://127.0.0.1:{network.web.port}/maven"
    assert Fetched(tmp_path, mirror, SSL_CERT_FILE=str(network.ca), HTTPS_PROXY=network.proxy.url).whole
    assert network.proxy.wanted == []


def test_a_mirror_may_ask_for_a_password(network: Company, tmp_path: Path) -> None:
    expected = "Basic " + base64.b64encode(b"me:s3cret@home").decode()
    network.web.answer = lambda request: serve_jars(request) if request.headers["Authorization"] == expected else Answer(401)
    url = f"https://me:s3cret%40home@{network.web.host}/maven"
    refused = Fetched(tmp_path, url.replace("home@", "work@"), SSL_CERT_FILE=str(network.ca))
    assert f"https://{network.web.host} answers 401" in refused.output
    assert "TALLYHOOK_MAVEN_MIRROR" in refused.output
    assert Fetched(tmp_path, url, SSL_CERT_FILE=str(network.ca)).whole


@pytest.mark.parametrize(
    ("mirror", "refusal"),
    [
        ("https://127.0.0.1:PORT/maven", "cannot be reached"),
        (f"https://{NAME}/maven", "cannot be reached"),
        ("https://me:s3/cret@host/maven", "TALLYHOOK_MAVEN_MIRROR: "),
        ("ftp://host/maven", "TALLYHOOK_MAVEN_MIRROR: an address over http"),
        ("host/maven", "TALLYHOOK_MAVEN_MIRROR: "),
    ],
)
def test_a_wrong_mirror_is_reported(tmp_path: Path, mirror: str, refusal: str) -> None:
    with socket.socket() as nobody:  # it is bound, but does not listen
        nobody.bind(("127.0.0.1", 0))
        fetched = Fetched(tmp_path, mirror.replace("PORT", str(nobody.getsockname()[1])))
    assert refusal in fetched.output


def test_an_answer_that_breaks_off_is_fetched_again_and_a_failed_request_is_retried(network: Company, tmp_path: Path) -> None:
    def shaky(request: BaseHTTPRequestHandler) -> Answer:
        tries = sum(path == request.path for _, path, _ in network.web.requests)
        return [Answer(503), Answer(200, JAR[:500], length=len(JAR)), serve_jars(request)][min(tries, 3) - 1]

    network.web.answer = shaky
    fetched = Fetched(tmp_path, f"https://{network.web.host}/maven", SSL_CERT_FILE=str(network.ca))
    assert fetched.whole, fetched.output


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [(Answer(404), "answers 404"), (Answer(200, b"<html>please sign in"), "not the one pinned"), (Answer(503), "answers 503")],
)
def test_a_jar_that_cannot_be_had_is_named_and_nothing_is_left(
    network: Company, tmp_path: Path, answer: Answer, refusal: str
) -> None:
    network.web.answer = lambda _: answer
    fetched = Fetched(tmp_path, f"https://{network.web.host}/maven", SSL_CERT_FILE=str(network.ca))
    assert refusal in fetched.output
    assert "com.example:" in fetched.output
    assert max(Counter(path for _, path, _ in network.web.requests).values()) <= MOST
    assert list((tmp_path / ".cache/tallyhook/jars").glob("fake-*")) == []


def search(_: BaseHTTPRequestHandler) -> Answer:
    product = (("X-Elastic-Product", "Elasticsearch"), ("Content-Type", "application/json"))
    return Answer(200, json.dumps({"version": {"number": "9.2.0"}}).encode(), headers=product)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("trusted", [True, False])
async def test_elasticsearch_is_trusted_by_the_settings_of_the_machine_and_reached_directly(
    network: Company, trusted: bool
) -> None:
    configure_network({"HTTPS_PROXY": network.proxy.url} | ({"SSL_CERT_FILE": str(network.ca)} if trusted else {}))
    network.web.answer = search
    url = f"https://{network.web.host}"
    answered: list[Any] = []
    with Elasticsearch(url, max_retries=0, **elasticsearch_tls_options(url)) as client, suppress(TransportError):
        answered.append(client.info())
    async with AsyncElasticsearch(url, max_retries=0, **elasticsearch_tls_options(url)) as client:
        with suppress(TransportError):
            answered.append(await client.info())
    assert len(answered) == (2 if trusted else 0)
    assert network.proxy.wanted == []


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("trusted", "reason"), [(True, "stripe_key_refused"), (False, "stripe_unreachable")])
def test_stripe_is_trusted_by_the_settings_of_the_machine_and_reached_through_the_proxy(
    network: Company, trusted: bool, reason: str
) -> None:
    configure_network({"HTTPS_PROXY": network.proxy.url} | ({"SSL_CERT_FILE": str(network.ca)} if trusted else {}))
    network.web.answer = lambda _: Answer(401, b'{"error": {"type": "invalid_request_error", "message": "no"}}')
    events = StripeEvents("rk_test_x", f"https://{NAME}", pauses=(), retries=0)
    now = datetime.now(UTC)
    with pytest.raises(StripeApiError) as caught:
        next(events.pages(now - timedelta(hours=1), now))
    assert caught.value.reason == reason
    assert set(network.proxy.wanted) == {f"{NAME}:443"}


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("trusted", "reason"), [(True, "stripe_key_refused"), (False, "stripe_unreachable")])
def test_the_lists_of_stripe_are_reached_likewise(network: Company, trusted: bool, reason: str) -> None:
    configure_network({"HTTPS_PROXY": network.proxy.url} | ({"SSL_CERT_FILE": str(network.ca)} if trusted else {}))
    network.web.answer = lambda _: Answer(401, b'{"error": {"type": "invalid_request_error", "message": "no"}}')
    lists = StripeLists("rk_test_x", f"https://{NAME}", pauses=(), retries=0)
    now = datetime.now(UTC)
    with pytest.raises(StripeApiError) as caught:
        next(lists.pages("invoice", now - timedelta(hours=1), now))
    assert caught.value.reason == reason
    assert set(network.proxy.wanted) == {f"{NAME}:443"}


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("trusted", "reason"), [(True, "stripe_key_refused"), (False, "stripe_unreachable")])
async def test_the_object_of_a_thin_event_is_fetched_likewise(network: Company, trusted: bool, reason: str) -> None:
    configure_network({"HTTPS_PROXY": network.proxy.url} | ({"SSL_CERT_FILE": str(network.ca)} if trusted else {}))
    network.web.answer = lambda _: Answer(401, b'{"error": {"type": "invalid_request_error", "message": "no"}}')
    wanted = Wanted(new_id(), next(iter(KINDS)), "x_1", "thin", "evt_1", 0, None, None, None, "", 1)
    async with opened_api(f"https://{NAME}", Secret("rk_test_x"), timedelta(seconds=10)) as api:
        answer = await api.fetch(wanted)
    assert answer.reason == reason
    assert set(network.proxy.wanted) == {f"{NAME}:443"}


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("trusted", [True, False])
async def test_a_provider_of_messages_is_trusted_and_reached_likewise(network: Company, trusted: bool) -> None:
    configure_network({"HTTPS_PROXY": network.proxy.url} | ({"SSL_CERT_FILE": str(network.ca)} if trusted else {}))
    network.web.answer = lambda _: Answer(200)
    sender = ProviderSender(f"jsons://{NAME}/sms", 10, 1)
    message = Message("<1@x>", "+15550100", Text("body", "subject"))
    if trusted:
        await sender.send(message)
    else:
        with pytest.raises(SendFailed):
            await sender.send(message)
    assert len(network.web.requests) == trusted
    assert set(network.proxy.wanted) == {f"{NAME}:443"}
    sender.close()


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("trusted", "outcome"), [(True, Answered(status=204)), (False, Answered(error="tls_failed"))])
async def test_a_crm_is_trusted_by_the_settings_of_the_machine_and_reached_directly_by_name(
    network: Company, trusted: bool, outcome: Answered
) -> None:
    configure_network({"HTTPS_PROXY": network.proxy.url} | ({"SSL_CERT_FILE": str(network.ca)} if trusted else {}))
    network.web.answer = lambda _: Answer(204)
    now = datetime.now(UTC)
    partner = Partner.model_validate({"crm_url": f"https://{network.web.host}/leads", "crm_secret": "whsec_Y3JtLXNlY3JldA=="})
    lead = Claimed(new_id(), "ACME", "acme", "external", b"{}", "", now, 1, 0, 0)
    async with opened_crm(timedelta(seconds=10), [ip_network("127.0.0.0/8")], lambda: now) as crm:
        assert await crm.send(partner, lead) == outcome
    agents = [headers["User-Agent"] for *_, headers in network.web.requests]
    assert agents == ([f"Tallyhook/{version('tallyhook')}"] if trusted else [])
    assert network.proxy.wanted == []


@pytest.mark.parametrize(
    ("trusted", "refusal"),
    [
        (True, "could not install into .venv; the whole log is .venv/install.log"),
        (False, "not trusted by this machine: set SSL_CERT_FILE"),
    ],
)
def test_a_first_run_of_dev_trusts_what_the_machine_trusts(network: Company, tmp_path: Path, trusted: bool, refusal: str) -> None:
    shutil.copy("dev", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/dev.lock").write_text(f"nothing==1 --hash=sha256:{'0' * 64}\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    environment |= {"PIP_INDEX_URL": f"https://{network.web.host}/simple"}
    environment |= {"SSL_CERT_FILE": str(network.ca)} if trusted else {}
    ended = subprocess.run([tmp_path / "dev", "status"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "the output of pip is in .venv/install.log" in ended.stderr
    assert refusal in ended.stderr
    assert [path for _, path, _ in network.web.requests] == (["/simple/nothing/"] if trusted else [])
