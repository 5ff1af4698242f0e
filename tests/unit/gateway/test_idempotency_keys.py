"""A key that comes twice in one call is one key, as a proxy may double a header; two that differ are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.commands import idempotency
from gateway.errors import GatewayError
from gateway.keys import CALLER
from gateway.secrets.tokens import Caller
from gateway.webhooks import leads

RECEIVED: Any = SimpleNamespace(provider_event_id="acme/1", event=SimpleNamespace(data=b"{}"))


def headers_with(*keys: str) -> CIMultiDict[str]:
    return CIMultiDict([("Idempotency-Key", key) for key in keys])


async def key_of_call(*keys: str) -> str:
    request = make_mocked_request("POST", "/", headers=headers_with(*keys))
    request[CALLER] = Caller("admin", "0" * 8)
    request._read_bytes = b"{}"
    return (await idempotency._key(request)).key


async def key_of_lead(*keys: str) -> str:
    bound = list[str]()

    async def bind(_: object, __: str, key: str, ___: bytes) -> bool:
        bound.append(key)
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("projections.leads.bind_key", bind)
        nowhere: Any = None
        await leads.claim_key(nowhere, CIMultiDictProxy(headers_with(*keys)), RECEIVED)
    return bound[0]


@pytest.mark.parametrize("key_of", [key_of_call, key_of_lead])
async def test_the_same_key_may_come_twice_and_another_may_not(key_of: Any) -> None:
    assert await key_of("a") == await key_of("a", "a") == "a"
    for keys in (("a", "b"), ("a", "a", "A"), ("",), ("a", "")):
        with pytest.raises(GatewayError, match="one key"):
            await key_of(*keys)
