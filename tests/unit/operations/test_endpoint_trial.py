"""The test event of `tallyhook endpoints test` is one of the provider's, and of no type that anybody handles."""

from __future__ import annotations

import time

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.settings import GatewaySettings
from gateway.webhooks.sources import Arrival
from operations.endpoints.trial import request_of
from runtime.ids import new_id
from runtime.settings import Secret
from schemas.providers import Provider, providers

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("provider", providers(), ids=lambda provider: provider.name)
def test_it_is_verified_and_ignored(provider: Provider) -> None:
    given = {
        "DATABASE_URL": "postgresql://x",
        "INTERNAL_API_TOKEN": "s",
        "ADMIN_API_TOKEN": "o",
        "STRIPE_WEBHOOK_SECRET": "whsec_x",
    }
    source = provider.part("gateway.webhooks.sources", "source")(GatewaySettings.load(given))
    secret, now = Secret("whsec_of_the_endpoint"), int(time.time())
    body, headers = request_of(provider, secret, now)
    sent = CIMultiDictProxy(CIMultiDict(headers))
    assert source.verify(body, sent, [Secret("whsec_another"), secret], now) == secret
    received = source.receive(Arrival(new_id(), TRACE, secret.id, body, sent))
    assert not received.handled
    assert received.event.livemode in {False, None}
