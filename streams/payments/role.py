"""The payments role: the handler, and beside it the service that fetches objects from Stripe's API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from runtime.database import Pool
from runtime.settings import Secret
from streams.payments.fetching.api import opened_api
from streams.payments.fetching.fetcher import Fetcher, Limits
from streams.payments.handler import PaymentsHandler
from streams.replays import after_replays
from streams.role import Role, Running
from streams.settings import PaymentSettings

log = structlog.get_logger()

_NO_KEY: Final = Secret("")  # no request is made with it
_BATCH_MAX: Final = 20
_BATCH_SECONDS: Final = 10  # of requests at the rate that is set, so that a claim outlasts them


@asynccontextmanager
async def _opened(settings: PaymentSettings, pool: Pool) -> AsyncIterator[Running]:
    async with opened_api(settings.stripe_api_base, _NO_KEY, settings.stripe_api_timeout) as api:
        handler = PaymentsHandler(fetches=True)
        fetcher = Fetcher(pool, None, limits_of(settings), consumer=handler.consumer)

        def follow(newest: PaymentSettings) -> None:
            """Use the current key; without one, fetch nothing."""
            if newest.stripe_api_key:
                api.renew(newest.stripe_api_key[0])
            fetcher.api = api if newest.stripe_api_key else None
            handler.decides = fetcher.api is not None

        follow(settings)
        settings.on_change(follow, "stripe_api_key")
        # The answer may be among the events that have yet to be read again.
        hold = after_replays(handler.consumer, pool, settings.kafka)
        yield Running(handler, (fetcher.fetching(hold),), (fetcher.heartbeat,))


def limits_of(settings: PaymentSettings) -> Limits:
    rate = settings.stripe_api_rate
    return Limits(rate, settings.stripe_fetch_attempts, batch=max(1, min(_BATCH_MAX, int(rate * _BATCH_SECONDS))))


PAYMENTS: Final = Role(PaymentsHandler.consumer, _opened, PaymentSettings)
