"""The payments worker put together: the handler, and beside it what asks Stripe's API."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import structlog

from runtime.database import Pool
from streams.payments.fetching.api import StripeApi, opened_api
from streams.payments.fetching.fetcher import Fetcher, Limits
from streams.payments.handler import PaymentsHandler
from streams.replays import after_replays
from streams.role import Role, Running
from streams.settings import PaymentSettings

log = structlog.get_logger()

_BATCH_MAX: Final = 20
_BATCH_SECONDS: Final = 10  # of calls at the rate that is set, so that a claim outlasts them


@asynccontextmanager
async def _opened(settings: PaymentSettings, pool: Pool) -> AsyncIterator[Running]:
    async with AsyncExitStack() as exits:
        api = None
        if settings.stripe_api_key:
            key, limit = settings.stripe_api_key[0], settings.stripe_api_timeout
            api = await exits.enter_async_context(opened_api(settings.stripe_api_base, key, limit))
            settings.on_change(partial(_renew, api), "stripe_api_key")
        handler = PaymentsHandler(fetches=True, decides=api is not None)
        fetcher = Fetcher(pool, api, limits_of(settings), consumer=handler.consumer)
        # An answer may be among the events that are still to be read again.
        hold = after_replays(handler.consumer, pool, settings.kafka)
        yield Running(handler, (fetcher.asking(hold),), (fetcher.heartbeat,))


def _renew(api: StripeApi, settings: PaymentSettings) -> None:
    if settings.stripe_api_key:
        api.renew(settings.stripe_api_key[0])


def limits_of(settings: PaymentSettings) -> Limits:
    rate = settings.stripe_api_rate
    return Limits(rate, settings.stripe_fetch_attempts, batch=max(1, min(_BATCH_MAX, int(rate * _BATCH_SECONDS))))


PAYMENTS: Final = Role(PaymentsHandler.consumer, _opened, PaymentSettings)
