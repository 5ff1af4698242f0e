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

from outbox.secret_changes import written_by
from runtime.schema import SchemaWatch
from runtime.secret_watch import SecretWatch
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
    secrets = SecretWatch((settings,), environ, written_by(f"worker-{role.name}", settings.database_url))
    watches = _Watches(schema, secrets)
    [app] = build_apps(f"worker-{role.name}", {role: settings}, _datadir().name, schema, watches)
    return app


@cache
def _datadir() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="tallyhook-")


class _Watches(Service):
    """Starts before everything else, and waits for a schema that this code can work on."""

    def __init__(self, schema: SchemaWatch, secrets: SecretWatch) -> None:
        super().__init__()
        self._schema = schema
        self._secrets = secrets

    @override
    async def on_start(self) -> None:
        self._secrets.start()
        self._schema.start()
        while not (self._schema.fits or self.should_stop):
            await self.sleep(_TURN)

    @override
    async def on_stop(self) -> None:
        self._schema.stop()
        self._secrets.stop()
