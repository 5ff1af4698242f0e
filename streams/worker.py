"""
The application for Faust's own command line, with the role that `TALLYHOOK_ROLE` names.

`TALLYHOOK_ROLE=payments faust -A streams.worker worker -l info` runs a worker; `agents`, `models` and `send TOPIC` are there too.
Operators use `tallyhook worker ROLE`, which also keeps its logs as lines of JSON. Importing this module reads nothing: the
application is made when `app` is asked for.
"""

import tempfile
from functools import cache
from typing import Any, Final

from mode import Service
from typing_extensions import override

from runtime.schema import SchemaWatch
from runtime.settings import SettingsError, environment
from streams.app import build_apps
from streams.roles import ROLES
from streams.transport import App

_TURN: Final = 0.1  # seconds


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    return _app()


@cache
def _app() -> App:
    try:
        environ = environment()
        role = ROLES.get(environ.get("TALLYHOOK_ROLE", ""))
        if role is None:
            raise SystemExit(f"TALLYHOOK_ROLE names no role; there are: {', '.join(ROLES)}")
        settings = role.settings.load(environ)
    except SettingsError as error:
        raise SystemExit(str(error)) from error
    schema = SchemaWatch(settings.database_url, f"worker {role.name}")
    [app] = build_apps(f"worker-{role.name}", {role: settings}, _datadir().name, schema, _Schema(schema))
    return app


@cache
def _datadir() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="tallyhook-")


class _Schema(Service):
    """Starts before everything else, and waits for a schema that this code can work on."""

    def __init__(self, watch: SchemaWatch) -> None:
        super().__init__()
        self._watch = watch

    @override
    async def on_start(self) -> None:
        self._watch.start()
        while not (self._watch.fits or self.should_stop):
            await self.sleep(_TURN)

    @override
    async def on_stop(self) -> None:
        self._watch.stop()
