"""Mutual TLS on the internal listener, with a real CA: which client certificates it accepts, besides the token."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import trustme

from ops.doctor.certificates import check_certificates
from ops.processes.routes import INTERNAL
from tests.gateways import ADMIN, SERVICE
from tests.integration.gateway.test_process import start, until_logged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CONFIG = "/internal/v1/config"


class TlsGateway:
    """A gateway process that requires client certificates of a CA, and requests with or without one."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.stranger = trustme.CA(), trustme.CA()
        self._folder = folder
        self.url = ""

    def settings(self, expires: datetime | None = None) -> dict[str, str]:
        paths = {name: self._folder / f"{name}.pem" for name in ("cert", "key", "ca")}
        own = self.ca.issue_cert("127.0.0.1", not_after=expires)
        paths["cert"].write_bytes(b"".join(blob.bytes() for blob in own.cert_chain_pems))
        own.private_key_pem.write_to_path(paths["key"])
        self.ca.cert_pem.write_to_path(paths["ca"])
        return {
            "INTERNAL_TLS_CERT": str(paths["cert"]),
            "INTERNAL_TLS_KEY": str(paths["key"]),
            "INTERNAL_TLS_CLIENT_CA": str(paths["ca"]),
            "INTERNAL_TLS_ALLOWED_SUBJECTS": "billing.internal, search",
        }

    async def call(self, certificate: trustme.LeafCert | None, headers: dict[str, str] = SERVICE) -> tuple[int, dict[str, Any]]:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if certificate:
            certificate.configure_cert(context)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client,
            client.get(self.url + CONFIG, headers=headers) as response,
        ):
            return response.status, await response.json(content_type=None)


@pytest.fixture
async def tls(database_url: str, tmp_path: Path) -> AsyncIterator[TlsGateway]:
    made = TlsGateway(tmp_path)
    process = await start(database_url, **made.settings())
    made.url = (await until_logged(process, "gateway_started"))["internal"]
    yield made
    process.terminate()
    await process.communicate()


async def test_an_allowed_name_is_accepted_with_a_token_and_not_without(tls: TlsGateway) -> None:
    assert tls.url.startswith("https://")
    billing = tls.ca.issue_cert("billing.internal")
    assert await tls.call(billing) == (200, {"items": []})
    status, problem = await tls.call(billing, {})
    assert (status, problem["reason"]) == (401, "token_missing")


async def test_a_common_name_is_enough(tls: TlsGateway) -> None:
    status, _ = await tls.call(tls.ca.issue_cert("elsewhere.internal", common_name="search"))
    assert status == 200


async def test_another_name_of_the_ca_is_refused(tls: TlsGateway) -> None:
    status, problem = await tls.call(tls.ca.issue_cert("stranger.internal"))
    assert (status, problem["reason"]) == (403, "certificate_not_allowed")


async def test_another_name_of_the_ca_reaches_no_route(tls: TlsGateway) -> None:
    context = ssl.create_default_context()
    tls.ca.configure_trust(context)
    tls.ca.issue_cert("stranger.internal").configure_cert(context)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client:
        for route in INTERNAL:
            url = tls.url + re.sub(r"\{\w+\}", "x", route.path)
            async with client.request(route.method, url, headers=ADMIN) as answer:
                problem = await answer.json(content_type=None)
            assert (answer.status, problem["reason"]) == (403, "certificate_not_allowed"), route.name


async def test_without_a_certificate_of_the_ca_there_is_no_connection(tls: TlsGateway) -> None:
    for certificate in (None, tls.stranger.issue_cert("billing.internal")):
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await tls.call(certificate)


async def test_plain_http_is_not_answered(tls: TlsGateway) -> None:
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientError):
            await client.get(tls.url.replace("https:", "http:") + CONFIG, headers=SERVICE)


async def test_an_expired_certificate_of_ours_is_logged_while_the_public_listener_serves(
    database_url: str, tmp_path: Path
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    tls = TlsGateway(tmp_path)
    process = await start(database_url, **tls.settings(yesterday))
    line = await until_logged(process, "certificate_expired")
    started = await until_logged(process, "gateway_started")
    tls.url = started["internal"]
    with pytest.raises(aiohttp.ClientConnectorCertificateError, match="certificate has expired"):
        await tls.call(tls.ca.issue_cert("billing.internal"))
    async with aiohttp.ClientSession() as world, world.get(f"{started['public']}/health/live") as answer:
        assert answer.status == 200
    process.terminate()
    await process.communicate()
    assert (line["level"], line["reason"]) == ("error", "certificate_expired")
    assert f"INTERNAL_TLS_CERT has expired, on {yesterday:%Y-%m-%d %H:%M} UTC" in line["error"]
    found = [each for each in check_certificates(tls.settings(yesterday)) if each.level == "fail"]
    assert [each.text for each in found] == [
        f"INTERNAL_TLS_CERT of this machine: the certificate has expired, on {yesterday:%Y-%m-%d %H:%M} UTC"
    ]
