"""A separate system for every test that harms one, on servers that were emptied for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system import System, running_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.stack import Stack


@pytest.fixture
def system(empty_stack: Stack) -> Iterator[System]:
    settings = {"STREAMS_SESSION_TIMEOUT": "6s", "STREAMS_RETRY_MAX": "2s"}
    with running_system(empty_stack, workers=("payments",), **settings) as running:
        yield running
