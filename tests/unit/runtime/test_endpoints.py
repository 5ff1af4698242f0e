"""A setting with an address that its client would refuse is refused at the start; the tests verify this with the client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NoReturn

import aiohttp
import pytest
import trustme

from runtime.endpoints import (
    check_database,
    check_elasticsearch,
    check_http,
    check_http_without_login,
    check_kafka,
    check_proxy,
    check_redis,
    has_login,
)

if TYPE_CHECKING:
    from pathlib import Path

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


def test_the_files_of_an_address_of_postgres_are_looked_at(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA().issue_cert("client.example.com")
    pair = authority.issue_cert("client.example.com")
    ca, cert, key, odd = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem", "odd.pem"))
    authority.cert_pem.write_to_path(ca)
    pair.cert_chain_pems[0].write_to_path(cert)
    for path, private in ((key, pair.private_key_pem), (odd, other.private_key_pem)):
        private.write_to_path(path)
        path.chmod(0o600)
    good = f"postgresql://u@db/x?sslmode=verify-full&sslrootcert={ca}&sslcert={cert}&sslkey={key}"
    assert check_database(good) == good
    for there, instead, fault in ((ca, key, "sslrootcert is not"), (key, odd, "not a usable certificate"), (cert, ca, "its key")):
        with pytest.raises(ValueError, match=fault):
            check_database(good.replace(str(there), str(instead)))
    key.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        check_database(good)


def test_options_that_libpq_refuses_are_named_without_their_values() -> None:
    for option in ("require_auth", "sslnegotiation", "channel_binding", "gssencmode"):
        with pytest.raises(ValueError, match=option) as refused:
            check_database(f"postgresql://u:p@db/x?{option}=hunter2")
        assert "hunter2" not in str(refused.value)
    assert check_database("postgresql://u:p@a:1,b:2/x?hostaddr=10.0.0.1,10.0.0.2&load_balance_hosts=random")


@pytest.mark.parametrize("option", ["gssencmode=require", "gssencmode=require&require_auth=gss", "sslmode=require"])
def test_encryption_that_a_local_socket_cannot_have_is_no_fault(option: str) -> None:
    assert check_database(f"postgresql://u@db/x?{option}")


@pytest.mark.parametrize("hosts", ["host=a,b", "hostaddr=10.0.0.1,10.0.0.2"])
def test_several_hosts_may_be_in_a_service_file_or_the_environment(
    hosts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = tmp_path / "pg_service.conf"
    services.write_text(f"[several]\n{hosts}\nport=5432,5433\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    for url in ("postgresql:///x?service=several", "postgresql:///x?service=several&port=1,2"):
        assert check_database(url) == url
    with pytest.raises(ValueError, match="not found"):
        check_database("postgresql:///x?service=none")
    monkeypatch.setenv("PGHOST", "a,b")
    monkeypatch.setenv("PGPORT", "5432,5433")
    assert check_database("postgresql:///x")


@pytest.mark.parametrize("option", ["0?db=0", "?db=3", "3?db=3", "0?socket_timeout="])
def test_options_of_redis_that_worked_go_on_to_work(option: str) -> None:
    assert check_redis(f"redis://h:6379/{option}")


@pytest.mark.parametrize("option", ["0?db=1", "?db=-1", "?socket_timeout=0", "?decode_responses=true", "?unknown=1"])
def test_options_of_redis_that_contradict_or_change_answers_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=r"db|above 0|does not know"):
        check_redis(f"redis://h:6379/{option}")


@pytest.mark.parametrize("servers", ["a:9092,\nb:9092\n", " a:9092 ,b:9092"])
def test_servers_of_kafka_have_no_white_space_between_them(servers: str) -> None:
    assert check_kafka(servers) == "a:9092,b:9092"
