"""schemathesis generates calls from the published contract alone, and every answer of the gateway fits the contract."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ops.contracts import openapi
from tests.gateways import ADMIN, SERVICE

if TYPE_CHECKING:
    from tests.gateways import StartGateway

pytestmark = pytest.mark.timeout(900)  # thousands of calls from one thread: a slow machine needs more than the usual limit

HERE: Final = Path(__file__).parent
SECRET: Final = "made-up"
SERVICES: Final = "^/(?!v1/)"
OPERATORS: Final = ("^/v1/admin/[a-k]", "^/v1/admin/[l-q]", "^/v1/admin/[r-z]")
"""The contract is tested in parts: one test of all takes minutes, and on a slow machine longer than a test may."""
WORLD: Final = "^/v1/webhooks/"
BRIEFLY: Final = ("--phases", "fuzzing", "--max-examples", "2")
CALLERS: Final = {
    "a_service": (SERVICE, BRIEFLY),
    "nobody": ({}, BRIEFLY),
}


async def conforms(folder: Path, url: str, *options: str) -> None:
    """Fails with the faults that schemathesis reports about the listener."""
    environ = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.integration.gateway.proving", "CONTRACT_SECRET": SECRET}
    environ["PYTHONPATH"] = str(HERE.parents[2])
    config = ("--config-file", str(HERE / "schemathesis.toml"))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--no-color", *config, "run", str(openapi.FILE), "--url", url, *options),
        stdout=PIPE,
        stderr=STDOUT,
        env=environ,
        cwd=folder,
    )
    output, _ = await child.communicate()
    assert child.returncode == 0, output.decode()


@pytest.mark.parametrize("paths", [SERVICES, *OPERATORS])
async def test_the_internal_listener_keeps_its_contract(start_gateway: StartGateway, tmp_path: Path, paths: str) -> None:
    async with start_gateway(COMMAND_WAIT="1ms") as gateway:
        headers = [f"--header={name}: {value}" for name, value in ADMIN.items()]
        await conforms(
            tmp_path, gateway.internal, "--include-path-regex", paths, *headers, "--phases", "examples,coverage,fuzzing"
        )


@pytest.mark.parametrize("caller", CALLERS)
async def test_other_callers_are_answered_by_the_contract(start_gateway: StartGateway, tmp_path: Path, caller: str) -> None:
    token, effort = CALLERS[caller]
    headers = [f"--header={name}: {value}" for name, value in token.items()]
    async with start_gateway(COMMAND_WAIT="1ms") as gateway:
        await conforms(tmp_path, gateway.internal, "--exclude-path-regex", WORLD, *headers, *effort)


def test_every_path_is_called() -> None:
    for path in json.loads(openapi.FILE.read_bytes())["paths"]:
        assert sum(bool(re.search(part, path)) for part in (SERVICES, *OPERATORS, WORLD)) == 1, path


async def test_the_public_listener_keeps_its_contract(start_gateway: StartGateway, tmp_path: Path) -> None:
    secrets = {"STRIPE_WEBHOOK_SECRET": SECRET, "RAZORPAY_WEBHOOK_SECRET": SECRET, "PARTNER_ACME_SECRET": SECRET}
    async with start_gateway(RATE_LIMIT_WEBHOOKS="off", RATE_LIMIT_PARTNERS="off", **secrets) as gateway:
        await conforms(tmp_path, gateway.public, "--include-path-regex", "^/v1/webhooks/|^/health/", "--max-examples", "40")
