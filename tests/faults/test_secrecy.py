"""No output of a process or command, printed, served or stored, contains a secret, whatever its characters."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from signal import SIGTERM
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

import aiohttp
import psutil
import psycopg
import pytest
import redis
from confluent_kafka import Consumer, TopicPartition
from psycopg import sql

from runtime.addresses import LOOPBACK
from schemas.topics import Topic
from tests.command import Command
from tests.ports import free_port
from tests.sender import post_stripe
from tests.simulators import stripe
from tests.simulators.partner import lead, sign
from tests.system import PROCESS_LOGS, System, running_system
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ops.stack import Stack

PASSWORD: Final = "Pq7@%zz:/w#r?d&' \"ünï\\x"
TOKEN: Final = "Tk9%en@:/#?&='x%2Fy"
ADMIN: Final = "Ad5%40m@:/#?'in"
SIGNING: Final = 'Sg3@%zz:/ #?ü"key'
CRM_SECRET: Final = "whsec_Q3JtNXNlY3JldENybTVzZWNyZXQ="
KEY: Final = "Ky4%zz@:key"
_ID: Final = "0190f3c2-7c1e-7d2a-9b1e-3f4a5b6c7d8e"
COMMANDS: Final = (
    "migrate", "retention", "topics ensure", "ledger", "topology", "doctor", "outbox status", "outbox unpark 1",
    "dead-letters list", f"dead-letters show {_ID}", "secrets list", "backfill stripe --since 1h --dry-run",
    "replay show", f"replay cancel {_ID}", "replay webhooks --status rejected --from 1h --dry-run",
    "replay offsets --worker payments --topic webhooks.stripe --from-time 1h --shadow", "erase --email jo@example.com --dry-run",
    "relay", "gateway", "worker all",
)  # fmt: skip
_FAILED: Final = "postgres_unavailable"
_SIDE_BY_SIDE: Final = 6
PROCESSES: Final = frozenset(command for command in COMMANDS if command.split()[0] in {"relay", "gateway", "worker"})


def needles() -> set[str]:
    found: set[str] = set()
    for secret in (PASSWORD, TOKEN, ADMIN, SIGNING, CRM_SECRET, KEY):
        raw = secret.encode()
        found |= {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], repr(raw)[2:-1]}
        found |= {
            json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1],
            base64.b64encode(raw).decode(),
            secret.removeprefix("whsec_")[:6],
        }
    return found


NEEDLES: Final = needles()


def assert_silent(text: str, where: str) -> None:
    found = sorted(needle for needle in NEEDLES if needle in text)
    if found:
        at = text.index(found[0])
        pytest.fail(f"{where} shows {found[0]!r}: …{text[max(0, at - 200) : at + 100]}…")


def settings_with(password: str, stack: Stack, *, crm: int) -> dict[str, str]:
    """Return every setting that can hold a secret; `password` is in the form for an address."""
    [postgres, cache, search] = [server.port for server in (stack.postgres, stack.redis, stack.elasticsearch)]
    return {
        "DATABASE_URL": f"postgresql://app:{password}@{LOOPBACK}:{postgres}/tallyhook",
        "REDIS_URL": f"redis://app:{password}@{LOOPBACK}:{cache}/0",
        "ELASTICSEARCH_URL": f"http://app:{password}@{LOOPBACK}:{search}",
        "STRIPE_WEBHOOK_SECRET": SIGNING,
        "RAZORPAY_WEBHOOK_SECRET": SIGNING + "2",
        "INTERNAL_API_TOKEN": TOKEN,
        "ADMIN_API_TOKEN": ADMIN,
        "STRIPE_API_KEY": KEY,
        "STRIPE_API_BASE": f"http://{LOOPBACK}:{crm}",
        "PARTNER_ACME_SECRET": SIGNING + "3",
        "PARTNER_ACME_TOKEN": TOKEN + "4",
        "PARTNER_ACME_CRM_URL": f"http://app:{password}@{LOOPBACK}:{crm}/hooks?key={quote(KEY, safe='')}",
        "PARTNER_ACME_CRM_SECRET": CRM_SECRET,
        "NOTIFY_EMAIL_URL": f"mailto://app:{password}@{LOOPBACK}:{crm}/?from=a@example.com",
        "NOTIFY_SMS_URL": f"json://app:{password}@{LOOPBACK}:{crm}/sms?apikey={quote(KEY, safe='')}",
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        "LEAD_MAX_ATTEMPTS": "2",
        "LEAD_RETRY_BASE": "100ms",
    }


@pytest.fixture
def stack(empty_stack: Stack) -> Stack:
    """Servers where `app` logs in with an awkward password."""
    stack = empty_stack
    with psycopg.connect(stack.postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("create role app superuser login password {}").format(sql.Literal(PASSWORD)))
    with redis.Redis.from_url(stack.redis.url) as client:
        client.acl_setuser("app", enabled=True, passwords=[f"+{PASSWORD}"], categories=["+@all"], keys=["*"], channels=["*"])
    return stack


async def test_no_process_shows_or_stores_a_secret(stack: Stack, tmp_path: Path) -> None:
    dead = free_port()
    right = settings_with(quote(PASSWORD, safe=""), stack, crm=dead)
    with running_system(stack, together=True, **right) as system:
        await use(system)
        await look(system, run_all(system.environment, [command for command in COMMANDS if command not in PROCESSES], tmp_path))
        environment = system.environment
    assert_silent("".join(log.read_text() for log in (stack.data_dir / PROCESS_LOGS).iterdir()), "the log of a process")
    wrong = environment | settings_with(quote(PASSWORD[::-1] + PASSWORD, safe=""), stack, crm=dead)
    for command, text in run_all(wrong, COMMANDS, tmp_path).items():
        assert_silent(text, f"{command} with a wrong password")
    unquoted = environment | settings_with(PASSWORD, stack, crm=dead)
    for command, text in run_all(unquoted, ("doctor", "migrate", *PROCESSES), tmp_path).items():
        assert_silent(text, f"{command} with a password that is not quoted")
        assert "%zz" not in text, text  # the text between two of its delimiters


async def use(system: System) -> None:
    """Send requests with right and wrong signatures and to wrong paths, and cause calls of an absent provider and partner."""
    async with aiohttp.ClientSession() as http:
        body = stripe.Payment().created(int(time.time()))
        assert (await post_stripe(http, system.public, body, secret=SIGNING)).status == 200
        headers = {"Authorization": f"Bearer {TOKEN}4", "X-Note": SIGNING, "User-Agent": TOKEN}
        assert (await post_stripe(http, system.public, body, secret="wrong", **headers)).status == 401
        sent = lead("crm-1")
        signed = {"Content-Type": "application/json", "X-Partner-Signature": sign(sent, SIGNING + "3", time.time())}
        async with http.post(f"{system.public}/v1/webhooks/partner/leads", data=sent, headers=signed) as answer:
            assert answer.status == 202
        bearer = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}4"}
        async with http.post(f"{system.public}/v1/webhooks/partner/leads", data=lead("crm-2"), headers=bearer) as answer:
            assert answer.status == 202
        token = {"X-Internal-Token": TOKEN}
        message = {
            "channel": "SMS",
            "to": "+4915112345678",
            "template": "payment-succeeded",
            "data": {"amount": 100, "currency": "eur"},
        }
        async with http.post(f"{system.internal}/internal/v1/notifications/send", json=message, headers=token) as answer:
            assert answer.status in (200, 202, 422), await answer.text()
        for path in (
            f"/internal/v1/{quote(ADMIN, safe='')}",
            f"/v1/admin/payments/{quote(TOKEN, safe='')}?t={quote(TOKEN, safe='')}",
        ):
            async with http.get(system.internal + path, headers={"X-Internal-Token": ADMIN}) as answer:
                assert answer.status == 404

        async def exhausted() -> bool:
            return system.count("leads where status = 'exhausted'") == 2

        await eventually(exhausted)


async def look(system: System, outputs: dict[str, str]) -> None:
    """Look for secrets in everything that is printed, served, shown of a process, and stored."""
    for command, text in outputs.items():
        assert_silent(text, command)
    webs = {state.name: state.web for state in system.states if state.web}
    async with aiohttp.ClientSession(headers={"X-Internal-Token": ADMIN}) as http:
        for name, web in {**webs, "internal": system.internal}.items():
            for path in (
                "/metrics",
                "/health/live",
                "/health/ready",
                "/topology",
                "/openapi.json",
                "/v1/admin/secrets",
                "/v1/admin/audit",
            ):
                async with http.get(web + path) as answer:
                    assert_silent(await answer.text(), f"{name}{path}")
    for process in psutil.Process().children(recursive=True):
        assert_silent("\0".join(process.cmdline()) + process.name(), f"the command line of {process.pid}")
    assert_silent(rows(system), "Postgres")
    assert_silent(records(system), "Kafka")


def rows(system: System) -> str:
    tables = [name for (name,) in system.query("select tablename from pg_tables where schemaname = 'public'")]
    found = [system.query(f'select t::text from "{table}" t') for table in tables]
    found.append(system.query("select application_name || query from pg_stat_activity where pid <> pg_backend_pid()"))
    bodies = system.query("select convert_from(body, 'UTF8') from webhook_deliveries where body is not null")
    return str([*found, bodies])


def records(system: System) -> str:
    consumer = Consumer({"bootstrap.servers": system.kafka, "group.id": "secrecy", "enable.auto.commit": False})
    known = consumer.list_topics(timeout=10).topics
    found: list[object] = []
    for name in {*Topic} & {*known}:
        for number in known[name].partitions:
            place = TopicPartition(str(name), number)
            low, high = consumer.get_watermark_offsets(place, timeout=10)
            consumer.assign([TopicPartition(str(name), number, low)])
            got = consumer.consume(high - low, timeout=10) if high > low else []
            found += [(message.key(), message.headers(), message.value()) for message in got]
    consumer.close()
    assert found
    return str(found)


def run_all(environment: dict[str, str], commands: Iterable[str], folder: Path) -> dict[str, str]:
    """Return the output of each command; those that run until they are stopped are stopped once they have printed the failure."""

    def run(command: str) -> str:
        ports = dict.fromkeys(("PUBLIC_PORT", "INTERNAL_PORT", "RELAY_WEB_PORT"), "0")
        settings = environment | ports | {"STREAMS_WEB_PORT": str(free_port())}
        with Command(settings, *command.split(), folder=folder) as running:
            wait_until(lambda: not running.runs() or (command in PROCESSES and _FAILED in running.printed()))
            running.kill(SIGTERM)
            done = running.ended()
        return done.stdout + done.stderr

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        commands = list(commands)
        return dict(zip(commands, pool.map(run, commands), strict=True))
