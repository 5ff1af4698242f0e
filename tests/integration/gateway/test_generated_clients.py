"""A client from each common generator is generated from the contract, compiled, and calls the real gateway."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Final

import pytest

from ops.contracts.json_schema import FOLDER
from schemas.registry import EVENT_TYPES
from tests import generators
from tests.gateways import ADMIN
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateways import Gateway

MAKERS: Final[dict[str, Callable[[Path], list[str]]]] = {
    "openapi-generator for Python": generators.python_client,
    "openapi-generator for Go": generators.go_client,
    "openapi-generator for TypeScript and axios": generators.axios_client,
    "openapi-python-client": generators.other_python_client,
    "openapi-typescript and openapi-fetch": generators.fetch_client,
}

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which openapi-generator has written its clients."""
    folder = tmp_path_factory.mktemp("generated")
    generators.by_openapi_generator(folder)
    return folder


@pytest.mark.parametrize("maker", MAKERS)
async def test_a_generated_client_gives_commands_asks_and_understands_refusals(
    maker: str, generated: Path, gateway: Gateway
) -> None:
    delivered = await (await gateway.post(Payment().succeeded(event_id="evt_generated"))).json()
    command = await asyncio.to_thread(MAKERS[maker], generated)
    child = await asyncio.create_subprocess_exec(
        *command, gateway.internal, ADMIN["X-Internal-Token"], stdout=PIPE, stderr=PIPE, cwd=generated
    )
    output, complaints = await child.communicate()
    assert child.returncode == 0, complaints.decode()
    assert json.loads(output) == ["order-7", "awaited", delivered["id"], "evt_generated", "not_found"]


def test_ajv_compiles_every_schema_in_strict_mode_and_takes_the_samples(tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(generators.node_modules())
    program = tmp_path / "ajv.cjs"
    program.write_bytes((generators.PROGRAMS / "ajv.cjs").read_bytes())
    samples = generators.PROGRAMS.parent / "golden"
    output = generators.run(tmp_path, "node", str(program), str(FOLDER), str(samples), str(generators.CONTRACT))
    bodies = json.loads(generators.CONTRACT.read_text())["components"]["schemas"]
    assert int(output) >= len(EVENT_TYPES) + len(bodies), "it warns of something"
