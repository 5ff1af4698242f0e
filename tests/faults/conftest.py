"""A system of its own for every test that harms one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system import System, running_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import StartStack


@pytest.fixture
def system(own_stack: StartStack) -> Iterator[System]:
    settings = {"STREAMS_SESSION_TIMEOUT": "6s", "STREAMS_RETRY_MAX": "2s"}
    with running_system(own_stack("postgres", "kafka"), workers=("payments",), **settings) as running:
        yield running
