"""The operators' command line, run as an operator runs it."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

from ops.dev.processes import TALLYHOOK
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping


def tallyhook(environment: Mapping[str, str], *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command to its end in this environment; `typed` is what the operator types."""
    return subprocess.run(
        [TALLYHOOK, *words], env=environment, input=typed, capture_output=True, text=True, check=False, timeout=LIMIT
    )


async def tallyhook_beside(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run it while the event loop of the test goes on."""
    return await asyncio.to_thread(tallyhook, environment, *words)
