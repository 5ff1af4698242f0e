"""
The rate limit of each client, counted over all gateways in Redis by the `limits` library, without slowing calls down.

A gateway takes calls from the shared count in lots and spends them by itself, so most calls do not wait. A client over its rate
is refused here until the count can have room again. While Redis is unavailable or slow, each gateway counts alone.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from math import ceil
from types import MappingProxyType
from typing import Any, Final, TypeVar

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from prometheus_client import Counter
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.errors import CalledTooOften
from runtime.redis_pool import leave_replica, pool_at, renew_login

log = structlog.get_logger()

ALONE: Final = Counter(
    "tallyhook_rate_limit_alone_total",
    "Calls that this gateway counted alone because Redis does not answer or is not configured.",
)
REDIS_FAILURES: Final = Counter("tallyhook_rate_limit_redis_failures_total", "Failed accesses to the shared counters in Redis.")
LIMITED: Final = Counter("tallyhook_rate_limited_total", "Calls refused because their client exceeded its rate limit.")

_PATIENCE: Final = 0.005  # seconds that a call waits for the shared count before this gateway decides alone
_REDIS_TIMEOUT: Final = 1.0  # seconds after which a request to Redis has failed
_AWAY: Final = 1.0  # seconds for which Redis is not used after that
_CLIENTS_MAX: Final = 10_000  # clients in memory; a flood from more addresses must not fill it
_LOTS: Final = 20  # lots of a rate at least: a gateway holds few calls that others cannot use
_LOT_MAX: Final = 1000  # calls in a lot at most; this bounds the search for its size


NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})
_NEVER: Final = RateLimitItemPerSecond(1)  # a rate for the type checker while nothing is counted


class _Allowance:
    """The calls that one client has left here without Redis, or the time until which it has none; times are monotonic."""

    __slots__ = ("closed_until", "drawing", "left", "until")

    def __init__(self) -> None:
        self.left = 0
        self.until = 0.0
        self.closed_until = 0.0
        self.drawing: asyncio.Task[bool] | None = None


class Rates:
    """
    The same rate for each of many clients, or None for no limit; `close` it at the end.

    Use `spend` and `acquire` only while it is `enabled`. `share` is the part of the rate that this process grants while Redis
    does not count: the processes of one gateway together grant no more than one process would.
    """

    def __init__(
        self,
        rate: RateLimitItem | None,
        redis_url: str | None,
        redis_options: Mapping[str, Any] = NO_OPTIONS,
        *,
        clock: Callable[[], float] = time.monotonic,
        share: float = 1.0,
    ) -> None:
        self._share = share
        self.change(rate)
        self._clock = clock
        self._tasks: set[asyncio.Task[bool]] = set()
        self._away_until = 0.0
        self._pool = _pool_of(redis_url, redis_options) if redis_url else None
        self._shared = _shared_by(self._pool) if self._pool else None

    def with_rate(self, rate: RateLimitItem | None) -> "Rates":
        """Another rate, counted in the same Redis, whose connections this one closes."""
        other = Rates(rate, None, clock=self._clock, share=self._share)
        other._pool, other._shared = self._pool, self._shared
        return other

    def change(self, rate: RateLimitItem | None) -> None:
        """Set a new rate; every client begins again."""
        self.enabled = rate is not None
        self._rate = rate or _NEVER
        self._window = float(self._rate.get_expiry())
        self._lot = lot_of(self._rate.amount)
        self._allowances: dict[str, _Allowance] = {}
        self._alone = _Buckets(max(1.0, self._rate.amount * self._share), self._window)

    def renew_login(self, redis_url: str | None) -> None:
        """Use the credentials in this address for new connections; only the start decides whether Redis is used at all."""
        if self._pool and redis_url:
            renew_login(self._pool, redis_url)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pool:
            await self._pool.disconnect()

    def spend(self, client: str) -> bool:
        """Take one of the calls that the client holds here, as most calls do; False if it holds none."""
        allowance = self._allowances.get(client)
        if allowance is None or allowance.left == 0 or self._clock() >= allowance.until:
            return False
        allowance.left -= 1
        return True

    async def acquire(self, client: str) -> None:
        """
        Count a call that `spend` did not take.

        Raises CalledTooOften, with the time after which the client may call again.
        """
        allowance = self._allowances.get(client) or _remember(self._allowances, client, _Allowance())
        deadline = self._clock() + _PATIENCE
        while self._shared and (now := self._clock()) < deadline:
            if now < allowance.closed_until:
                raise _limited(allowance.closed_until - now)
            if now < self._away_until:
                break
            if await self._more(client, allowance, deadline - now) and self.spend(client):
                return
        ALONE.inc()
        if wait := self._alone.take(client, self._clock()):
            raise _limited(wait)

    async def _more(self, client: str, allowance: _Allowance, patience: float) -> bool:
        """Draw more calls; False if Redis has not answered in time. The request goes on, and all waiting calls share it."""
        if allowance.drawing is None:
            allowance.drawing = asyncio.get_running_loop().create_task(self._draw(client, allowance))
            self._tasks.add(allowance.drawing)
            allowance.drawing.add_done_callback(self._tasks.discard)
        done, _ = await asyncio.wait({allowance.drawing}, timeout=patience)
        return bool(done)

    async def _draw(self, client: str, allowance: _Allowance) -> bool:
        """Draw a lot for the client, or refuse its calls until there can be one."""
        assert self._shared is not None  # noqa: S101  # only called with Redis
        try:
            async with asyncio.timeout(_REDIS_TIMEOUT):
                if await self._shared.hit(self._rate, client, cost=self._lot):
                    allowance.left, allowance.until = self._lot, self._clock() + self._window
                    return True
                stats = await self._shared.get_window_stats(self._rate, client)
                wait = max(stats.reset_time - time.time(), self._window * self._lot / self._rate.amount)
                allowance.closed_until = self._clock() + wait
                log.info("client_limited", client=client, rate=str(self._rate), seconds=round(wait, 3))
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = self._clock() + _AWAY
            REDIS_FAILURES.inc()
            log.warning("rate_limit_alone", reason="redis_unavailable", error=str(error))
            if self._pool:
                await leave_replica(self._pool, error)
        except Exception:  # this gateway counts alone for a while, as it does without Redis
            self._away_until = self._clock() + _AWAY
            REDIS_FAILURES.inc()
            log.exception("rate_limit_alone", reason="internal_error")
        finally:
            allowance.drawing = None
        return False


def lot_of(amount: int) -> int:
    """The number of calls that are drawn at once: a divisor of the rate, so that the last lot is a whole one."""
    return next(lot for lot in range(max(1, min(amount // _LOTS, _LOT_MAX)), 0, -1) if amount % lot == 0)


class _Buckets:
    """Token buckets by client, in this process alone."""

    def __init__(self, amount: float, window: float) -> None:
        self._amount = amount
        self._per_second = amount / window
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, client: str, now: float) -> float:
        """Take a token; 0, or the seconds until there is one."""
        tokens, at = self._buckets.get(client) or _remember(self._buckets, client, (self._amount, now))
        tokens = min(self._amount, tokens + (now - at) * self._per_second)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._per_second
        self._buckets[client] = (tokens if wait else tokens - 1, now)
        return wait


Kept = TypeVar("Kept")


def _remember(kept: dict[str, Kept], client: str, new: Kept) -> Kept:
    """Store a value for a client; if there are too many clients, remove the oldest one."""
    if len(kept) >= _CLIENTS_MAX:
        del kept[next(iter(kept))]
    kept[client] = new
    return new


def _limited(wait: float) -> CalledTooOften:
    LIMITED.inc()
    return CalledTooOften(ceil(wait) or 1)


def _pool_of(url: str, options: Mapping[str, Any]) -> ConnectionPool:
    patience: dict[str, Any] = {"socket_timeout": _REDIS_TIMEOUT, "socket_connect_timeout": _REDIS_TIMEOUT}
    return pool_at(url, **patience, retry=Retry(NoBackoff(), 0), **options)


def _shared_by(pool: ConnectionPool) -> SlidingWindowCounterRateLimiter:
    # The library's types do not have the pool, but its code accepts one, and then reads nothing from the address.
    options: dict[str, Any] = {"connection_pool": pool}
    return SlidingWindowCounterRateLimiter(
        RedisStorage("async+redis://", implementation="redispy", key_prefix="tallyhook:rate", **options)
    )
