"""schemathesis makes up calls from the published contract alone: whatever it sends, the gateway answers as the contract says."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ops.contracts import openapi
from tests.gateways import ADMIN, SERVICE

if TYPE_CHECKING:
    from tests.gateways import StartGateway

HERE: Final = Path(__file__).parent
SECRET: Final = "made-up"
CALLERS: Final = {
    "an_operator": (ADMIN, ["--phases", "examples,coverage,fuzzing"]),
    "a_service": (SERVICE, ["--phases", "fuzzing", "--max-examples", "2"]),
    "nobody": ({}, ["--phases", "fuzzing", "--max-examples", "2"]),
}


async def conforms(folder: Path, url: str, *options: str) -> None:
    """Fails with what schemathesis says against the listener."""
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
    told, _ = await child.communicate()
    assert child.returncode == 0, told.decode()


@pytest.mark.timeout(900)  # thousands of calls, which a slow machine answers in more than the usual limit
@pytest.mark.parametrize("caller", CALLERS)
async def test_the_internal_listener_keeps_its_contract(start_gateway: StartGateway, tmp_path: Path, caller: str) -> None:
    token, effort = CALLERS[caller]
    headers = [f"--header={name}: {value}" for name, value in token.items()]
    async with start_gateway(COMMAND_WAIT="1ms") as gateway:
        await conforms(tmp_path, gateway.internal, "--exclude-path-regex", "^/v1/webhooks/", *headers, *effort)


async def test_the_public_listener_keeps_its_contract(start_gateway: StartGateway, tmp_path: Path) -> None:
    secrets = {"STRIPE_WEBHOOK_SECRET": SECRET, "RAZORPAY_WEBHOOK_SECRET": SECRET, "PARTNER_ACME_SECRET": SECRET}
    async with start_gateway(RATE_LIMIT_WEBHOOKS="off", RATE_LIMIT_PARTNERS="off", **secrets) as gateway:
        await conforms(tmp_path, gateway.public, "--include-path-regex", "^/v1/webhooks/|^/health/", "--max-examples", "40")
