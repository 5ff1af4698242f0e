"""A setting with an address that its client would refuse is refused at the start; the tests verify this with the client."""

from __future__ import annotations

import asyncio
from typing import Any, Final, NoReturn

import aiohttp
import pytest

from runtime.endpoints import check_elasticsearch, check_http, check_http_without_login, check_proxy, has_login

OURS: Final = {"authORIZATION": "Bearer k"}
SENT: Final = [
    "https://crm.example/leads",
    "https://u:p@crm.example/leads",
    "https://u@crm.example/",
    "https://:p@crm.example/",
    "https://@crm.example/",
    "https://u:p%3Aq@crm.example/",
    "https://u:p:q@crm.example/",
    "https://u%40b:p%25@crm.example/",
    "https://%C3%BC:ß@crm.example/",
    "https://u:%FC@crm.example/",
    "https://u%253A:p@crm.example/",
    "https://crm.münchen.example./",
    "https://a_b.example/",
    "https://[::1]:8443/",
    f"https://{'a' * 63}.example/",
]
NEVER_SENT: Final = [
    "https://us%3Aer:p@crm.example/",
    "https://u:%E2%82%AC@crm.example/",
    "https://€:p@crm.example/",
    "https://u%FC%3A:p@crm.example/",
    "https://u\\:p@crm.example/",
    "https://aא.example/",
    f"https://{'ü' * 60}.example/",
]


class Reached(Exception):
    """Raised when the request is complete and would be sent."""


class Nowhere(aiohttp.BaseConnector):
    """Connects to nothing."""

    async def connect(self, *_: Any, **__: Any) -> NoReturn:
        raise Reached


def is_sent(url: str, headers: dict[str, str] | None = None) -> bool:
    async def send() -> None:
        async with aiohttp.ClientSession(connector=Nowhere()) as session, session.post(url, headers=headers):
            pass

    try:
        asyncio.run(send())
    except Reached:
        return True
    except ValueError:
        return False
    raise AssertionError("the connector raises")


@pytest.mark.parametrize("url", SENT)
def test_an_address_that_aiohttp_accepts_is_accepted(url: str) -> None:
    assert is_sent(url)
    assert check_http(url) == url


@pytest.mark.parametrize("url", NEVER_SENT)
def test_an_address_that_aiohttp_refuses_is_refused_without_showing_it(url: str) -> None:
    assert not is_sent(url)
    with pytest.raises(ValueError, match=r"expected|user|host") as refused:
        check_http(url)
    assert "example/" not in str(refused.value)


@pytest.mark.parametrize("url", SENT)
def test_a_login_is_refused_exactly_where_aiohttp_takes_no_authorization_of_ours_beside_it(url: str) -> None:
    assert has_login(url) is not is_sent(url, OURS)
    if has_login(url):
        with pytest.raises(ValueError, match="our own credential"):
            check_http_without_login(url)
    else:
        assert check_http_without_login(url) == url


@pytest.mark.parametrize("host", ["a" * 64 + ".example", ".".join(["a" * 60] * 5)])
def test_a_name_that_dns_cannot_have_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        check_http(f"https://{host}/")


def test_a_proxy_has_the_same_logins_and_elasticsearch_those_of_utf8() -> None:
    for login in ("us%3Aer:p", "u:%E2%82%AC"):
        with pytest.raises(ValueError, match="user"):
            check_proxy(f"http://{login}@proxy.example:3128")
    assert check_proxy("socks5://us%3Aer:p@proxy.example:1080")
    assert check_elasticsearch("https://u:%E2%82%AC@search.example:9200")
    with pytest.raises(ValueError, match="colon"):
        check_elasticsearch("https://us%3Aer:p@search.example:9200")
