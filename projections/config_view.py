"""The runtime configuration as a process sees it: usable values only, kept up with changes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar, cast

import psycopg
import structlog
from prometheus_client import Gauge
from psycopg import AsyncConnection

from outbox.alerts import CONFIG_IGNORED, note
from projections.config import last_usable, read_values
from projections.config_keys import is_read, is_usable
from projections.config_tables import CHANGED_CHANNEL
from projections.errors import Reason
from runtime.database import UNAVAILABLE, Pool, make_pool
from runtime.excerpts import excerpt_of
from runtime.failures import Failures
from runtime.listening import Listener

log = structlog.get_logger()

UNUSABLE: Final = Gauge("tallyhook_config_unusable", "Keys of the runtime configuration whose value is unusable and ignored.")

_POLL: Final = 1.0  # seconds; a hint may be lost, and followers are to know within two
_Value = TypeVar("_Value", bool, int, float, str)


class Config:
    """
    What the keys that are read hold: usable values only.

    A value that cannot be used (SQL or an older version wrote it) is not taken: the last good one stays, else the default.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values: dict[str, Any] = {}
        self._unusable: dict[str, Any] = {}
        self.replace(values or {})

    def get(self, key: str, default: _Value) -> _Value:
        """The value in force; the default where the key was never set, or is null."""
        value = self._values.get(key)
        return default if value is None else cast("_Value", value)

    def replace(self, values: Mapping[str, Any]) -> list[str]:
        """Let these be the values from now on; returns the keys whose value has become one that cannot be used."""
        read = {key: value for key, value in values.items() if is_read(key)}
        unusable = {key: value for key, value in read.items() if not is_usable(key, value)}
        kept = {key: self._values[key] for key in unusable if key in self._values}
        self._values = {key: value for key, value in read.items() if key not in unusable} | kept
        changed = [key for key, value in unusable.items() if key not in self._unusable or not _same(self._unusable[key], value)]
        self._unusable = unusable
        return changed

    def fall_back(self, key: str, value: Any) -> None:
        """Let this be the value of a key whose own cannot be used, unless a good one of it was seen here."""
        self._values.setdefault(key, value)

    @property
    def unusable(self) -> int:
        """How many keys have a value that cannot be used."""
        return len(self._unusable)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other  # 1 is not true


@asynccontextmanager
async def following(database_url: str) -> AsyncIterator[Config]:
    """
    The configuration, kept up with changes within two seconds.

    It is read before it is handed out where Postgres lets it; with Postgres away it keeps the values it had, at first none.
    """
    config, news, failures = Config(), asyncio.Event(), Failures("config")
    pool = make_pool(database_url, size=1, name="config")
    listener = Listener(database_url, CHANGED_CHANNEL, heard=lambda _: news.set(), reconnected=news.set)
    await pool.open(wait=False)
    await _refresh(config, pool, failures)
    await listener.open()
    closing = asyncio.Event()
    follower = asyncio.get_running_loop().create_task(_follow(config, pool, news, closing, failures))
    try:
        yield config
    finally:
        closing.set()
        news.set()
        await follower
        await listener.close()
        await pool.close()


async def _follow(config: Config, pool: Pool, news: asyncio.Event, closing: asyncio.Event, failures: Failures) -> None:
    while not closing.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), _POLL)
        news.clear()
        if pause := await _refresh(config, pool, failures):
            with suppress(TimeoutError):
                await asyncio.wait_for(closing.wait(), pause)


async def _refresh(config: Config, pool: Pool, failures: Failures) -> float:
    """Take the values of now, or keep those of before; returns the seconds for which to leave it at that."""
    try:
        async with pool.connection() as connection:
            changed = config.replace(await read_values(connection))
            UNUSABLE.set(config.unusable)
            await _set_aside(connection, config, changed)
    except UNAVAILABLE as error:
        log.warning("config_kept", reason="postgres_unavailable", error=str(error).strip())
    except psycopg.Error as error:  # such as a day without its partition, which takes no alert: this loop is to go on
        log.warning("config_kept", reason="postgres_refuses", error=excerpt_of(error))
    except Exception as error:  # noqa: BLE001  # else nobody would follow the configuration any more
        return failures.note(error)
    else:
        failures.passed()
    return 0.0


async def _set_aside(connection: AsyncConnection, config: Config, keys: Sequence[str]) -> None:
    """Say once of a value that it is ignored, and find what was in force before this process began."""
    for key in keys:
        config.fall_back(key, await last_usable(connection, key))
        log.warning("config_ignored", reason=Reason.CONFIG_VALUE_INVALID, key=key)
    for key in keys:
        await note(connection, CONFIG_IGNORED, key)
