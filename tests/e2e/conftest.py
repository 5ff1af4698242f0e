"""One running system for all end-to-end tests; each test sends its own payments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp
import pytest
import requests

from tests.collector import Collector, collecting
from tests.simulators import partner
from tests.simulators.crm import SECRET, Crm, crm_of_its_own, status
from tests.simulators.stripe_api import KEY, StripeApi, stripe_api
from tests.system import ADMIN, System, running_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.lasting import Lasting

CACHE_PREFIX: Final = "shop:"
SEAL_KEY: Final = "dGVzdC1rZXktb2YtMzItYnl0ZXMtZm9yLXNlYWxzISE="
# One for each test: after five failed attempts a breaker opens, and the lead of another test would wait for its probe.
BROKEN_DOWN: Final = ("down", "closed", "gone", "lost")


@pytest.fixture(scope="session")
def crm() -> Iterator[Crm]:
    """The CRM of all partners, each at its own path; some of them always fail."""
    with crm_of_its_own() as running:
        for name in BROKEN_DOWN:
            running.answers(f"/{name}", status(503, "closed"))
        yield running


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """The collector to which every process of the system sends its spans."""
    with collecting() as running:
        yield running


@pytest.fixture(scope="session")
def stripe_list() -> Iterator[StripeApi]:
    """Stripe's list of events."""
    with stripe_api() as running:
        yield running


@pytest.fixture(scope="session")
def system(lasting: Lasting, crm: Crm, collector: Collector, stripe_list: StripeApi) -> System:
    partners = {**partner.settings(crm.url, SECRET, "acme", *BROKEN_DOWN), "SECRET_KEYS": SEAL_KEY}
    leads = {"LEAD_RETRY_BASE": "200ms", "LEAD_MAX_ATTEMPTS": "3", "LEAD_POLL": "50ms", "LEAD_TIMEOUT": "2s"}
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    lists = {"STRIPE_API_KEY": KEY, "STRIPE_API_BASE": stripe_list.url, "STRIPE_API_RATE": "100"}
    settings = {"CACHE_KEY_PREFIX": CACHE_PREFIX, **partners, **leads, **traces, **lists}
    return lasting.last(running_system(lasting.emptied(), **settings))


@pytest.fixture
def admin() -> Iterator[requests.Session]:
    """An operator's session with the internal listener."""
    with requests.Session() as session:
        session.headers.update(ADMIN)
        yield session


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
