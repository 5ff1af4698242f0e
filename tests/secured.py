"""Servers as companies run them: with TLS and authentication."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from base64 import b64encode, urlsafe_b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, ClassVar, Final, Self

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ops.stack import tls_proxy
from ops.stack.authority import Authority
from ops.stack.kafka import Kafka
from ops.stack.ports import Ports, is_free
from ops.stack.server import Surroundings
from runtime.addresses import LOOPBACK
from tests.ports import free_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER: Final = "tallyhook"
_MODULES: Final = "org.apache.kafka.common.security"
_PROPERTIES: Final = """
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller},BOTH://{host}:{both},TLS://{host}:{tls},SASL://{host}:{sasl}
advertised.listeners=PLAINTEXT://{host}:{port},BOTH://{host}:{both},TLS://{host}:{tls},SASL://{host}:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,BOTH:SASL_SSL,TLS:SSL,SASL:SASL_PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={certificate}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.tls.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
_SASL: Final = """
listener.name.{listener}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.{listener}.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{user}="{password}";
listener.name.{listener}.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.{listener}.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.{listener}.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required;
listener.name.{listener}.oauthbearer.sasl.server.callback.handler.class={modules}.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.{listener}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url={issuer}/keys
listener.name.{listener}.oauthbearer.sasl.oauthbearer.expected.audience=kafka
listener.name.{listener}.oauthbearer.sasl.oauthbearer.expected.issuer={issuer}
"""


class Issuer:
    """A token endpoint and its keys, on the loopback: the client credentials grant (RFC 6749), tokens as JWT (RFC 7519)."""

    def __init__(self) -> None:
        self.client_id, self.client_secret = USER, secrets.token_urlsafe()
        self._key = rsa.generate_private_key(65537, 2048)
        self._server = ThreadingHTTPServer((LOOPBACK, 0), type("Handler", (_Handler,), {"issuer": self}))
        self.granted = 0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def keys(self) -> dict[str, object]:
        numbers = self._key.public_key().public_numbers()
        size = (numbers.n.bit_length() + 7) // 8
        key = {"n": _text(numbers.n.to_bytes(size)), "e": _text(numbers.e.to_bytes(3))}
        return {"keys": [{"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig"} | key]}

    def token(self) -> str:
        self.granted += 1
        now = int(time.time())
        claims = {"iss": self.url, "sub": USER, "aud": "kafka", "iat": now, "exp": now + 300, "scope": "kafka"}
        signed = ".".join(_text(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1", "typ": "JWT"}, claims))
        return f"{signed}.{_text(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class _Handler(BaseHTTPRequestHandler):
    issuer: ClassVar[Issuer]

    def do_GET(self) -> None:
        self._answer(200, self.issuer.keys())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        known = b64encode(f"{self.issuer.client_id}:{self.issuer.client_secret}".encode()).decode()
        if self.headers["Authorization"] != f"Basic {known}":
            return self._answer(401, {"error": "invalid_client"})
        return self._answer(200, {"access_token": self.issuer.token(), "token_type": "Bearer", "expires_in": 300})

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


class SecuredKafka(Kafka):
    """A broker with access rights and, beside the tests' open listener, listeners with TLS, with SASL, and with both."""

    def __init__(self, folder: Path, issuer: Issuer) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder / "kafka", Ports({}), Surroundings())
        self.issuer, self.password = issuer, secrets.token_urlsafe()
        self.authority = Authority(folder / "certificates")

    def take_ports(self, ports: Ports) -> None:
        super().take_ports(ports)
        self._extra = [ports.take(f"kafka_{name}", 0) for name in ("both", "tls", "sasl")]

    @property
    def both(self) -> str:
        return f"{LOOPBACK}:{self._extra[0]}"

    @property
    def tls(self) -> str:
        return f"{LOOPBACK}:{self._extra[1]}"

    @property
    def sasl(self) -> str:
        return f"{LOOPBACK}:{self._extra[2]}"

    def environment(self, protocol: str, mechanism: str = "") -> dict[str, str]:
        """The settings of a client that comes this way."""
        servers = {"SASL_SSL": self.both, "SSL": self.tls, "SASL_PLAINTEXT": self.sasl, "PLAINTEXT": self.both}
        found = {"KAFKA_BOOTSTRAP_SERVERS": servers[protocol], "KAFKA_SECURITY_PROTOCOL": protocol}
        if mechanism == "OAUTHBEARER":
            client = {
                "CLIENT_ID": self.issuer.client_id,
                "CLIENT_SECRET": self.issuer.client_secret,
                "TOKEN_URL": self.issuer.url,
            }
            found |= {f"KAFKA_OAUTH_{name}": text for name, text in client.items()}
        elif mechanism:
            found |= {"KAFKA_SASL_USERNAME": USER, "KAFKA_SASL_PASSWORD": self.password}
        if protocol.endswith("SSL"):
            found["KAFKA_SSL_CA"] = str(self.authority.ca)
        if protocol == "SSL":
            found |= {"KAFKA_SSL_CERT": str(self.authority.cert), "KAFKA_SSL_KEY": str(self.authority.key)}
        return found | ({"KAFKA_SASL_MECHANISM": mechanism} if mechanism else {})

    def properties(self) -> str:
        ports = dict(zip(("both", "tls", "sasl"), self._extra, strict=True))
        found = super().properties() + _PROPERTIES.format(
            host=LOOPBACK,
            port=self.port,
            controller=self.controller_port,
            certificate=self.authority.server,
            authority=self.authority.ca,
            **ports,
        )
        of_sasl = {"modules": _MODULES, "user": USER, "password": self.password, "issuer": self.issuer.url}
        return found + "".join(_SASL.format(listener=listener, **of_sasl) for listener in ("both", "sasl"))

    def _java(self) -> list[str]:
        java, *rest = super()._java()
        return [java, f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.issuer.url}/keys", *rest]

    def start(self) -> None:
        super().start()
        self.add_user(USER)

    def add_user(self, user: str) -> None:
        """Add this user for SCRAM, with the same password."""
        self._know(user, self.password)

    def change_password(self, password: str) -> None:
        """Change the user's password for SCRAM."""
        self._know(USER, password)

    def _know(self, name: str, password: str) -> None:
        admin = AdminClient({"bootstrap.servers": self.url})
        for way in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            user = UserScramCredentialUpsertion(name, ScramCredentialInfo(way, 8192), password.encode())
            for done in admin.alter_user_scram_credentials([user]).values():
                done.result(20)


@contextmanager
def tls_listener(kind: str, behind: int, authority: Authority) -> Iterator[int]:
    """Run a TLS listener for one test, with a certificate of this authority; yields its port."""
    port = free_port()
    command = [sys.executable, tls_proxy.__file__, kind, str(port), str(behind), str(authority.server)]
    with subprocess.Popen(command) as opened:
        try:
            wait_until(lambda: not is_free(port))
            yield port
        finally:
            opened.terminate()
