"""The settings of the connections to Redis and Elasticsearch, besides their addresses."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

from runtime.kafka import File, OneSecret, Tls, unusable
from runtime.outgoing import ca_bundle
from runtime.settings import ElasticsearchUrl, Secret, Settings

_HEADER_WORD: Final = re.compile(r"[\x21-\x7e]+")


def _check_word(secret: Secret) -> Secret:
    if not _HEADER_WORD.fullmatch(secret.value):
        raise ValueError("has a space or another character that no such key has")
    return secret


class RedisTlsSettings(Settings):
    """The trust of a client of Redis; its user and password are in the address."""

    redis_ssl_ca: File | None = None
    """The certificate authority of Redis, a PEM file; without it those of the machine are trusted."""

    @property
    def redis_options(self) -> dict[str, Any]:
        """The options of a client besides the address."""
        return {"ssl_ca_certs": str(self.redis_ssl_ca)} if self.redis_ssl_ca else {}

    @classmethod
    def conflicts(cls, given: Mapping[str, str]) -> Iterator[str]:
        yield from super().conflicts(given)
        yield from _trust_conflicts("REDIS_SSL_CA", "REDIS_URL", "rediss", given)
        if "REDIS_SSL_CA" in given and "ssl_ca_certs=" in given.get("REDIS_URL", ""):
            yield "REDIS_SSL_CA: has no use, because REDIS_URL has ssl_ca_certs: one of them has to go"


class ElasticsearchSettings(Settings):
    """A client of Elasticsearch; a user with a password is in the address."""

    elasticsearch_url: ElasticsearchUrl
    """The address of Elasticsearch, `https://…`, also with `user:password@` before the host."""
    elasticsearch_api_key: Annotated[OneSecret, AfterValidator(_check_word)] | None = None
    """An API key as Elasticsearch gives it out (`encoded`), in place of a user and a password in the address."""
    elasticsearch_ssl_ca: File | None = None
    """The certificate authority of Elasticsearch, a PEM file; without it those of the machine are trusted."""

    @property
    def elasticsearch_options(self) -> dict[str, Any]:
        """The options of a client besides the address."""
        found: dict[str, Any] = {"api_key": self.elasticsearch_api_key.value} if self.elasticsearch_api_key else {}
        bundle = (str(self.elasticsearch_ssl_ca) if self.elasticsearch_ssl_ca else ca_bundle()) if self._encrypted else None
        return found | ({"ca_certs": bundle} if bundle else {})

    @property
    def _encrypted(self) -> bool:
        return self.elasticsearch_url.startswith("https://")

    @classmethod
    def conflicts(cls, given: Mapping[str, str]) -> Iterator[str]:
        yield from super().conflicts(given)
        yield from _trust_conflicts("ELASTICSEARCH_SSL_CA", "ELASTICSEARCH_URL", "https", given)
        url = cls.value("ELASTICSEARCH_URL", given)
        if url and "ELASTICSEARCH_API_KEY" in given and urlsplit(url).username is not None:
            yield "ELASTICSEARCH_API_KEY: has no use, because ELASTICSEARCH_URL has a user: one of them has to go"


def _trust_conflicts(authority: str, address: str, scheme: str, given: Mapping[str, str]) -> Iterator[str]:
    if authority not in given:
        return
    if address in given and not given[address].startswith(f"{scheme}://"):
        yield f"{authority}: has no use, because {address} does not begin with {scheme}://"
    else:
        yield from unusable(authority, Tls(ca=Path(given[authority])))
