"""A secured stack with wrong credentials: every process reports them and retries, and continues once they are right."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest

from ops.stack.secure import SecureStack
from tests.sender import post_stripe
from tests.simulators import stripe
from tests.system import System
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import aiohttp
    import requests

WRONG: Final = "hunter2-hunter2"
CREDENTIALS: Final = ("DATABASE_URL", "REDIS_URL", "ELASTICSEARCH_API_KEY")


@pytest.fixture
def stack(servers_dir: Path) -> Iterator[SecureStack]:
    with SecureStack(servers_dir / "wrong") as running:
        yield running


def wrong(right: str) -> str:
    """Return the address with another password, or another key."""
    before, _, host = right.partition("@")
    return f"{before.rpartition(':')[0]}:{WRONG}@{host}" if host else "aHVudGVyMi1odW50ZXIy"


async def test_processes_wait_for_the_right_credentials(
    stack: SecureStack, http: aiohttp.ClientSession, admin: requests.Session, tmp_path: Path
) -> None:
    right = {name: stack.environment[name] for name in CREDENTIALS}
    for name, text in right.items():
        (tmp_path / name).write_text(wrong(text))
    unset = dict.fromkeys(right, "")
    system = System(stack, together=True, STREAMS_RETRY_MAX="500ms", SECRETS_DIR=str(tmp_path), **unset)
    system.prepare()

    def logged(words: str, *names: str) -> bool:
        return bool(system.states) and all(system.log_of(name).count(words) for name in names)

    try:
        system.begin()
        wait_until(lambda: logged("password authentication failed", "gateway", "relay", "worker-all"), seconds=120)
        wait_until(lambda: logged("elasticsearch_refuses", "worker-all"))
        pids = {state.name: state.pid for state in system.states}

        (tmp_path / "DATABASE_URL").write_text(right["DATABASE_URL"])
        system.wait_ready("gateway", "relay")
        payment = stripe.Payment()
        assert (await post_stripe(http, system.public, payment.succeeded(int(time.time())))).status == 200
        document = {"index": "properties", "id": "p1", "op": "upsert", "doc": {"title": "A flat"}}
        tasks = [post(admin, system, "cache/invalidate", {"keys": ["k1"]}), post(admin, system, "search/index", document)]
        wait_until(lambda: logged("AuthenticationError", "worker-all"))
        # A role that waits for its server delays no other one.
        wait_until(lambda: admin.get(f"{system.internal}/v1/admin/payments/{payment.id}").status_code == 200)
        assert [status(admin, system, task) for task in tasks] == ["pending", "pending"]

        for name in ("REDIS_URL", "ELASTICSEARCH_API_KEY"):
            (tmp_path / name).write_text(right[name])
        wait_until(lambda: [status(admin, system, task) for task in tasks] == ["done", "done"])
        assert {state.name: state.pid for state in system.states} == pids
        assert all(WRONG not in system.log_of(name) and "Traceback" not in system.log_of(name) for name in pids)
    finally:
        system.stop()


def post(admin: requests.Session, system: System, path: str, command: dict[str, object]) -> str:
    answer = admin.post(f"{system.internal}/internal/v1/{path}", json=command)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["taskId"])


def status(admin: requests.Session, system: System, task: str) -> str:
    return str(admin.get(f"{system.internal}/internal/v1/tasks/{task}").json()["status"])
