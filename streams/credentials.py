"""Faust's credentials for Kafka, made from our settings."""

import asyncio
import time
from typing import Final
from urllib.parse import quote_plus

import aiohttp
import msgspec
from aiokafka.abc import AbstractTokenProvider
from faust import SASLCredentials, SSLCredentials
from faust.auth import Credentials, OAuthCredentials

from runtime.excerpts import described
from runtime.kafka import Cluster, OAuth
from runtime.outgoing import tls_context
from runtime.renewal import newest
from schemas.foreign_json import UNREADABLE

_RENEWED_AT: Final = 0.8
"""The part of its life after which a token is replaced."""
_LIFE: Final = 300.0
"""The life in seconds of a token whose response does not state it (RFC 6749, section 5.1, only recommends that it does)."""
_LIFE_MAX: Final = 86_400.0
_LIMIT: Final = aiohttp.ClientTimeout(total=10)


def credentials_of(kafka: Cluster) -> Credentials | None:
    """Return the credentials, or None if the brokers require none. Raises OSError for TLS files that cannot be used."""
    context = kafka.tls.context() if kafka.tls else None
    if kafka.oauth:
        return OAuthCredentials(oauth_cb=Tokens(kafka.oauth), ssl_context=context)
    if kafka.mechanism:
        assert kafka.username, "the settings require a username with each of these mechanisms"  # noqa: S101  # narrows the type
        assert kafka.password, "likewise"  # noqa: S101  # same
        return SASLCredentials(
            username=kafka.username, password=kafka.password.value, ssl_context=context, mechanism=kafka.mechanism
        )
    return SSLCredentials(context) if context else None


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Bearer tokens of one client, fetched when a connection needs one and kept until most of their life is over."""

    def __init__(self, oauth: OAuth) -> None:
        self._oauth = oauth
        self._lock = asyncio.Lock()
        self._token = ""
        self._until = 0.0

    async def token(self) -> str:
        """Return a valid token. Raises OSError: aiokafka then connects again later; any other error would end the process."""
        async with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._token, life = await self._fetch()
                except (aiohttp.ClientError, *UNREADABLE) as error:
                    raise ConnectionError(f"the token endpoint gives no token: {described(error)}") from error
                self._until = time.monotonic() + life * _RENEWED_AT
            return self._token

    async def _fetch(self) -> tuple[str, float]:
        form = {"grant_type": "client_credentials"} | ({"scope": self._oauth.scope} if self._oauth.scope else {})
        client = aiohttp.encode_basic_auth(quote_plus(self._oauth.client_id), quote_plus(newest(self._oauth.client_secret.value)))
        async with (
            aiohttp.ClientSession(timeout=_LIMIT, trust_env=True, connector=aiohttp.TCPConnector(ssl=tls_context())) as session,
            session.post(self._oauth.token_url, data=form, headers={"Authorization": client}, raise_for_status=True) as answer,
        ):
            granted = msgspec.json.decode(await answer.read(), type=_Granted, strict=False)  # some write the number as a text
        return granted.access_token, min(max(0.0, granted.expires_in or _LIFE), _LIFE_MAX)


class _Granted(msgspec.Struct):
    """A token response (RFC 6749, section 5.1)."""

    access_token: str
    expires_in: float | None = None
