"""The runtime configuration as a process holds it in memory: usable values only, updated with changes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

import structlog
from prometheus_client import Gauge
from psycopg import AsyncConnection
from typing_extensions import override

from outbox.alerts import CONFIG_IGNORED, count_occurrences
from projections.config import CONFIG, last_usable, read_values
from projections.config_keys import is_read, is_usable
from projections.errors import Reason
from runtime.following import Followed
from runtime.following import following as following_table

log = structlog.get_logger()

UNUSABLE: Final = Gauge("tallyhook_config_unusable", "Keys of the runtime configuration whose value is unusable and ignored.")

_Value = TypeVar("_Value", bool, int, float, str)


class Config(Followed):
    """
    The usable values of the keys that have a reader.

    A value that cannot be used (SQL or an older version wrote it) is ignored: the last usable one stays, else the default.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._values: dict[str, Any] = {}
        self._unusable: dict[str, Any] = {}
        self.replace(values or {})

    def get(self, key: str, default: _Value) -> _Value:
        """Return the value in force; the default if the key was never set, or is null."""
        value = self._values.get(key)
        return default if value is None else cast("_Value", value)

    @override
    async def refresh(self, connection: AsyncConnection) -> None:
        changed = self.replace(await read_values(connection))
        UNUSABLE.set(self.unusable)
        await _report_ignored(connection, self, changed)

    def replace(self, values: Mapping[str, Any]) -> list[str]:
        """Use these values from now on; returns the keys whose value has become unusable."""
        read = {key: value for key, value in values.items() if is_read(key)}
        unusable = {key: value for key, value in read.items() if not is_usable(key, value)}
        kept = {key: self._values[key] for key in unusable if key in self._values}
        self._values = {key: value for key, value in read.items() if key not in unusable} | kept
        changed = [key for key, value in unusable.items() if key not in self._unusable or not _same(self._unusable[key], value)]
        self._unusable = unusable
        return changed

    def fall_back(self, key: str, value: Any) -> None:
        """Use this value for a key whose own is unusable, unless a usable one was read here before."""
        self._values.setdefault(key, value)

    @property
    def unusable(self) -> int:
        """The number of keys whose value cannot be used."""
        return len(self._unusable)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other  # 1 is not true


@asynccontextmanager
async def following(database_url: str, *, wait: bool = True) -> AsyncIterator[Config]:
    """
    Yield the configuration, updated with changes within two seconds.

    With `wait` it is read before it is yielded, if Postgres is available. While Postgres is unavailable it keeps its values, at
    first none.
    """
    config = Config()
    async with following_table(database_url, CONFIG, config, wait=wait):
        yield config


async def _report_ignored(connection: AsyncConnection, config: Config, keys: Sequence[str]) -> None:
    """Log once that a value is ignored, and find the value that was in force before this process began."""
    for key in keys:
        config.fall_back(key, await last_usable(connection, key))
        log.warning("config_ignored", reason=Reason.CONFIG_VALUE_INVALID, key=key)
    for key in keys:
        await count_occurrences(connection, CONFIG_IGNORED, key)
