"""The connection to Kafka: addresses, TLS and SASL, the same for librdkafka (relay, administration) and for Faust's aiokafka."""

import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field

from runtime.outgoing import ca_bundle
from runtime.renewal import newest
from runtime.settings import HttpUrlWithoutLogin, KafkaServers, Secret, Settings, Text

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{0,100}")  # a topic's name has 249 characters at most
_MECHANISM: Final = ("KAFKA_SASL_MECHANISM",)
_USER: Final = ("KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD")
_OAUTH: Final = ("KAFKA_OAUTH_TOKEN_URL", "KAFKA_OAUTH_CLIENT_ID", "KAFKA_OAUTH_CLIENT_SECRET")
_SCOPE: Final = "KAFKA_OAUTH_SCOPE"
_TLS: Final = ("KAFKA_SSL_CA", "KAFKA_SSL_CERT", "KAFKA_SSL_KEY", "KAFKA_SSL_KEY_PASSWORD")


class OAuth(NamedTuple):
    """A client that gets its tokens from `token_url` by the client credentials grant (RFC 6749, section 4.4)."""

    token_url: str
    client_id: str
    client_secret: Secret
    scope: str | None = None


class Tls(NamedTuple):
    """PEM files; without `ca` the certificate authorities of the machine are trusted."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    key_password: Secret | None = None

    def context(self) -> ssl.SSLContext:
        """A context for a client that checks the server's certificate and name. Raises OSError for files that cannot be used."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert:
            context.load_cert_chain(self.cert, self.key, self.key_password.value if self.key_password else "")
        return context


class Cluster(NamedTuple):
    """The brokers of one cluster, and what they require of a client."""

    servers: str
    """`host:port`, comma-separated."""
    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism | None = None
    username: str | None = None
    password: Secret | None = None
    oauth: OAuth | None = None
    tls: Tls | None = None
    prefix: str = ""
    """The prefix of the names of our topics and groups, for a cluster that others use too."""

    def named(self, name: str) -> str:
        """The name on the cluster of our topic or group: with the prefix."""
        return self.prefix + name

    def ours(self, name: str) -> str:
        """Our topic or group that has this name on the cluster: without the prefix."""
        return name.removeprefix(self.prefix)

    @property
    def login(self) -> tuple[str, str] | None:
        """The user and the password as it is now, for PLAIN and SCRAM."""
        return (self.username, newest(self.password.value)) if self.username and self.password else None

    @property
    def client(self) -> dict[str, Any]:
        """
        The settings by which a librdkafka client reaches the cluster; the client adds its own.

        https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
        """
        found: dict[str, Any] = {"bootstrap.servers": self.servers, "security.protocol": self.protocol.lower()}
        if self.mechanism:
            found["sasl.mechanisms"] = self.mechanism
        if self.login:
            found |= dict(zip(("sasl.username", "sasl.password"), self.login, strict=True))
        return found | self._oauth() | self._tls()

    def _oauth(self) -> dict[str, str]:
        if self.oauth is None:
            return {}
        found = {
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": self.oauth.token_url,
            "sasl.oauthbearer.client.id": self.oauth.client_id,
            "sasl.oauthbearer.client.secret": newest(self.oauth.client_secret.value),
        }
        bundle = ca_bundle()
        found |= {"https.ca.location": bundle} if bundle else {}
        return found | ({"sasl.oauthbearer.scope": self.oauth.scope} if self.oauth.scope else {})

    def _tls(self) -> dict[str, str]:
        if self.tls is None:
            return {}
        password = self.tls.key_password and self.tls.key_password.value
        found = {
            "ssl.ca.location": self.tls.ca or ca_bundle(),
            "ssl.certificate.location": self.tls.cert,
            "ssl.key.location": self.tls.key,
            "ssl.key.password": password,
        }
        return {name: str(value) for name, value in found.items() if value}


def _secret_in(text: str) -> Secret:
    return Secret(text.strip())


def _secret_of(value: object) -> object:
    if isinstance(value, str) and not value.strip().isprintable():
        raise ValueError("has a line break or another character that cannot be seen in it")
    return _secret_in(value) if isinstance(value, str) else value


def _check_readable(path: Path) -> Path:
    """Raise ValueError for a file that this process cannot read."""
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"this file cannot be read: {error.strerror}") from None


def _check_prefix(prefix: str) -> str:
    """Raise ValueError for a text with which no topic's name can begin."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("up to 100 letters, digits, dots, hyphens and underscores are expected, such as acme.")
    return prefix


OneSecret = Annotated[Secret, BeforeValidator(_secret_of)]
File = Annotated[Path, AfterValidator(_check_readable)]


class KafkaClientSettings(Settings):
    """The settings of every client of Kafka besides the addresses."""

    kafka_topic_prefix: Annotated[str, AfterValidator(_check_prefix)] = ""
    """Put before the name of every topic and consumer group, such as `acme.`, where others use the same cluster."""
    kafka_security_protocol: Protocol = "PLAINTEXT"
    """`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`, as the brokers' listener has it."""
    kafka_sasl_mechanism: Mechanism | None = None
    """`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`; required with SASL."""
    kafka_sasl_username: Text | None = None
    """The user, for PLAIN and SCRAM."""
    kafka_sasl_password: OneSecret | None = None
    """The user's password, for PLAIN and SCRAM."""
    kafka_oauth_token_url: HttpUrlWithoutLogin | None = Field(default=None, repr=False)
    """The token endpoint, for OAUTHBEARER: tokens are fetched from it by the client credentials grant."""
    kafka_oauth_client_id: Text | None = None
    """The client's id at the token endpoint."""
    kafka_oauth_client_secret: OneSecret | None = None
    """The client's secret at the token endpoint."""
    kafka_oauth_scope: Text | None = None
    """The scope to request, if the token endpoint requires one."""
    kafka_ssl_ca: File | None = None
    """The certificate authority of the brokers, a PEM file; without it those of the machine are trusted."""
    kafka_ssl_cert: File | None = None
    """The client's certificate chain, a PEM file, if the brokers require one."""
    kafka_ssl_key: File | None = None
    """The key of that certificate, a PEM file."""
    kafka_ssl_key_password: OneSecret | None = None
    """The password of that key, if it has one."""

    @classmethod
    def conflicts(cls, given: Mapping[str, str]) -> Iterator[str]:
        yield from super().conflicts(given)
        yield from _conflicts(given, cls.value("KAFKA_SECURITY_PROTOCOL", given), cls.value("KAFKA_SASL_MECHANISM", given))

    def kafka_at(self, servers: str) -> Cluster:
        """The cluster at these addresses."""
        sasl = self.kafka_security_protocol.startswith("SASL_")
        return Cluster(
            servers,
            self.kafka_security_protocol,
            self.kafka_sasl_mechanism if sasl else None,
            self.kafka_sasl_username,
            self.kafka_sasl_password,
            self._oauth,
            self._tls if self.kafka_security_protocol.endswith("SSL") else None,
            self.kafka_topic_prefix,
        )

    @property
    def _oauth(self) -> OAuth | None:
        if not (self.kafka_oauth_token_url and self.kafka_oauth_client_id and self.kafka_oauth_client_secret):
            return None
        return OAuth(
            self.kafka_oauth_token_url, self.kafka_oauth_client_id, self.kafka_oauth_client_secret, self.kafka_oauth_scope
        )

    @property
    def _tls(self) -> Tls:
        return Tls(self.kafka_ssl_ca, self.kafka_ssl_cert, self.kafka_ssl_key, self.kafka_ssl_key_password)


class KafkaSettings(KafkaClientSettings):
    """The settings of a client of Kafka."""

    kafka_bootstrap_servers: KafkaServers
    """`host:port`, comma-separated."""

    @property
    def kafka(self) -> Cluster:
        """The cluster that these settings name."""
        return self.kafka_at(self.kafka_bootstrap_servers)


def _conflicts(given: Mapping[str, str], protocol: Protocol | None, mechanism: Mechanism | None) -> Iterator[str]:
    """Yield the settings that are missing, or would be ignored, so that a connection would only seem to be secured."""
    if protocol is None or ("KAFKA_SASL_MECHANISM" in given and mechanism is None):
        return  # the field itself is wrong
    sasl, tls = protocol.startswith("SASL_"), protocol.endswith("SSL")
    by_token, by_name = sasl and mechanism == "OAUTHBEARER", sasl and mechanism not in {"OAUTHBEARER", None}
    set_as = f"KAFKA_SECURITY_PROTOCOL is {protocol}" + (f" and KAFKA_SASL_MECHANISM {mechanism}" if sasl and mechanism else "")
    needed = (*(_MECHANISM if sasl else ()), *(_USER if by_name else ()), *(_OAUTH if by_token else ()))
    yield from (f"{name}: is required, because {set_as}" for name in needed if name not in given)
    for names, used in ((_MECHANISM, sasl), (_USER, by_name), ((*_OAUTH, _SCOPE), by_token), (_TLS, tls)):
        yield from (f"{name}: has no use, because {set_as}" for name in names if not used and name in given)
    if tls:
        yield from _tls_conflicts(given)


def _tls_conflicts(given: Mapping[str, str]) -> Iterator[str]:
    authority, cert, key, password = _TLS
    halves = [(cert, key), (key, cert), (password, key)]
    missing = [
        f"{needed}: is required, because {there} is set" for there, needed in halves if there in given and needed not in given
    ]
    yield from missing
    if missing:
        return
    yield from unusable(authority, Tls(ca=Path(given[authority]))) if authority in given else ()
    if cert in given:
        secret = _secret_in(given[password]) if password in given else None
        yield from unusable(cert, Tls(cert=Path(given[cert]), key=Path(given[key]), key_password=secret))


def unusable(name: str, tls: Tls) -> Iterator[str]:
    """Yield a fault if the setting's file is no PEM file of its kind; the field itself reports a file that cannot be read."""
    try:
        tls.context()
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        return  # the field itself reports it
    except OSError as error:  # ssl.SSLError is one
        yield f"{name}: is not a usable certificate in PEM ({error.args[-1]})"
