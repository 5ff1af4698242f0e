"""The variables for a shell that works on the running stack: `eval "$(./dev env)"`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from ops.dev.mark import NAME, Mark
from ops.dev.status import describe
from ops.stack.errors import Reason, StackError
from ops.stack.postgres import programs_for
from ops.stack.state import StateFile
from runtime.settings import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECT: Final = ("NO_PROXY", "no_proxy")
"""With a proxy, they make all clients, `curl` too, reach the loopback without it."""


def exports(checkout: Path, data_dir: Path, earlier: Mark | None = None) -> str:
    """
    Return `export` lines for bash, which include secrets.

    They set the variables of every process, `PUBLIC_URL`, `INTERNAL_URL`, `ADMIN_TOKEN`, those of libpq for a bare `psql`,
    a `PATH` with `tallyhook` and `psql`, and a mark that lists them; other variables of an `earlier` mark are unset.

    Raises StackError if nothing runs on the data directory.
    """
    state = StateFile(data_dir).read()
    if not state.running:
        raise StackError(Reason.STACK_FAILED, f"nothing runs on {data_dir}; start it with ./dev up --detach")
    before = dict(os.environ)
    settings = environment(checkout)
    status = describe(state)
    found = {name: value for name, value in settings.given.items() if name not in before} | state.environment
    found |= {name: os.environ[name] for name in _DIRECT if os.environ.get(name) != before.get(name)}
    found |= _libpq(found["DATABASE_URL"]) | {
        "TALLYHOOK_DATA_DIR": str(data_dir),
        "PUBLIC_URL": status.public or "",
        "INTERNAL_URL": status.internal or "",
        "ADMIN_TOKEN": settings.get("ADMIN_API_TOKEN", "").partition(",")[0].strip(),
    }
    for name in settings.files.texts:  # the same setting twice is refused
        found.pop(name, None)
    # Without variables that the user had set to the same value, and without those that only add to the user's.
    set_here = {name: value for name, value in found.items() if before.get(name) != value and name not in _DIRECT}
    found[NAME] = Mark.made(checkout, data_dir, set_here).text
    lines = [f"unset {name}" for name in sorted({*(earlier.digests if earlier else ())} - {*found, *before})]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(found.items())]
    return "\n".join([*lines, f'export PATH={":".join(map(shlex.quote, _folders()))}:"$PATH"'])


def _libpq(database_url: str) -> dict[str, str]:
    """Return the variables of libpq, which `psql` reads too: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE and others."""
    options = psycopg.pq.Conninfo.parse(database_url.encode())
    return {option.envvar.decode(): option.val.decode() for option in options if option.envvar and option.val is not None}


def _folders() -> Iterator[str]:
    yield str(Path(sys.executable).parent)
    yield str(programs_for(None))
