"""Fixtures of several capabilities: a connection to the test's own database, and a simulated Stripe API as a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.simulators.stripe_api import StripeApi, stripe_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def api() -> Iterator[StripeApi]:
    with stripe_api() as running:
        yield running


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened
