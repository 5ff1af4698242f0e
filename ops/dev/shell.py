"""What a shell needs to work on the running stack: `eval "$(./dev env)"`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ops.dev.mark import NAME, Mark
from ops.dev.status import describe
from ops.stack.errors import StackError
from ops.stack.postgres import programs_for
from ops.stack.state import StateFile
from runtime.settings import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def exports(checkout: Path, data_dir: Path, earlier: Mark | None = None) -> str:
    """
    Lines of `export` for bash: the settings of every process, `PUBLIC_URL`, `INTERNAL_URL`, `ADMIN_TOKEN`, and a `PATH` with
    `tallyhook` and `psql`. They hold secrets, and a mark of what was set; what an `earlier` one set beyond that is unset.

    Raises StackError where nothing runs on the data directory.
    """
    state = StateFile(data_dir).read()
    if not state.running:
        raise StackError(f"nothing runs on {data_dir}; start it with ./dev up --detach")
    settings = environment(checkout)
    status = describe(state)
    found = {name: value for name, value in settings.items() if name not in os.environ} | state.environment
    found |= {
        "TALLYHOOK_DATA_DIR": str(data_dir),
        "PUBLIC_URL": status.public or "",
        "INTERNAL_URL": status.internal or "",
        "ADMIN_TOKEN": settings.get("ADMIN_API_TOKEN", "").partition(",")[0].strip(),
    }
    found[NAME] = Mark.made(checkout, data_dir, _set_here(found)).text
    lines = [f"unset {name}" for name in sorted({*(earlier.digests if earlier else ())} - {*found, *os.environ})]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(found.items())]
    return "\n".join([*lines, f'export PATH={":".join(map(shlex.quote, _folders()))}:"$PATH"'])


def _set_here(found: Mapping[str, str]) -> dict[str, str]:
    """Without what the user has set to the very same value."""
    return {name: value for name, value in found.items() if os.environ.get(name) != value}


def _folders() -> Iterator[str]:
    yield str(Path(sys.executable).parent)
    yield str(programs_for(None))
