"""One running system for all end-to-end tests; each test brings payments of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.system import System, running_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.servers import StartStack


@pytest.fixture(scope="session")
def system(start_stack: StartStack) -> Iterator[System]:
    with running_system(start_stack("postgres", "kafka", "redis", "elasticsearch")) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
