"""A link to the console of a running stack, which signs in once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from console.command import HOME, make
from ops.dev.status import describe
from ops.stack.state import StateFile
from runtime.sessions import connect_async
from runtime.settings import Secret, environment

if TYPE_CHECKING:
    from pathlib import Path


def console_link(checkout: Path, data_dir: Path, to: str = HOME) -> str | None:
    """Make a link to a page of the console; None if no browser can open it, since the listener requires a certificate."""
    state = StateFile(data_dir).read()
    known = environment(checkout) | state.environment
    internal = describe(state).internal or ""
    token = known.get("ADMIN_API_TOKEN", "").partition(",")[0].strip()
    if not internal.startswith("http://") or not token:
        return None

    async def made() -> str:
        async with await connect_async(known["DATABASE_URL"], name="command") as connection:
            return await make(connection, internal, Secret(token).id, to)

    return asyncio.run(made())
