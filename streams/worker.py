"""
The application for Faust's own command line, with the role that `TALLYHOOK_ROLE` names.

`TALLYHOOK_ROLE=payments faust -A streams.worker worker -l info` runs a worker; `agents`, `models` and `send TOPIC` work too.
Operators use `tallyhook worker ROLE`, which also keeps its logs as lines of JSON. Importing this module reads nothing: the
application is made when `app` is first read.
"""

import asyncio
import tempfile
from collections.abc import Collection
from functools import cache
from typing import Any, Final

import structlog
from mode import Service
from typing_extensions import override

from outbox.errors import BrokerError
from outbox.offsets import Offsets
from outbox.secret_changes import report_to_audit_log
from runtime.schema import SchemaWatch
from runtime.secret_watch import SecretWatch
from runtime.settings import SettingsError, environment
from streams.app import build_apps
from streams.roles import ROLES
from streams.transport import App

log = structlog.get_logger()

_TURN: Final = 0.5  # seconds


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
            raise SystemExit(f"TALLYHOOK_ROLE must be one of: {', '.join(ROLES)}")
        settings = role.settings.load(environ)
    except SettingsError as error:
        raise SystemExit(str(error)) from error
    schema = SchemaWatch(settings.database_url, f"worker {role.name}")
    secrets = SecretWatch((settings,), environ, report_to_audit_log(f"worker-{role.name}", settings.database_url))
    watches = _Watches(schema, secrets, Offsets(settings.kafka), role.topics)
    [app] = build_apps(f"worker-{role.name}", {role: settings}, _datadir().name, schema, watches)
    return app


@cache
def _datadir() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="tallyhook-")


class _Watches(Service):
    """Starts before everything else, and waits for a schema that this code can work on and for brokers that answer."""

    def __init__(self, schema: SchemaWatch, secrets: SecretWatch, offsets: Offsets, topics: Collection[str]) -> None:
        super().__init__()
        self._schema = schema
        self._secrets = secrets
        self._offsets = offsets
        self._topics = topics

    @override
    async def on_start(self) -> None:
        self._secrets.start()
        self._schema.start()
        while not (self.should_stop or (self._schema.fits and await self._brokers_answer())):
            await self.sleep(_TURN)

    @override
    async def on_stop(self) -> None:
        self._schema.stop()
        self._secrets.stop()

    async def _brokers_answer(self) -> bool:
        try:
            await asyncio.to_thread(self._offsets.topic_ids, self._topics)
        except BrokerError as error:
            log.warning("worker_waiting", reason=error.reason, error=str(error))
            return False
        return True
