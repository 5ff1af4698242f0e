"""TLS of the internal listener: its certificate, and the client certificates that it requires."""

import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

from gateway.errors import GatewayError, Reason
from gateway.keys import ALLOWED_SUBJECTS
from gateway.settings import GatewaySettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def internal_context(settings: GatewaySettings) -> ssl.SSLContext | None:
    """
    Return the TLS context of the internal listener, None for plain HTTP.

    With a client CA, a handshake without a certificate of that CA fails.

    Raises OSError if a file cannot be read or is no certificate (ssl.SSLError is one).
    """
    if settings.internal_tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.internal_tls_cert, settings.internal_tls_key)
    if settings.internal_tls_client_ca is not None:
        context.load_verify_locations(settings.internal_tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@web.middleware
async def require_subject(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Require an allowed name in the client's certificate; if no names are set, every certificate of the CA is allowed."""
    allowed = request.app[ALLOWED_SUBJECTS]
    if allowed and allowed.isdisjoint(subjects_of(request.get_extra_info("peercert"))):
        raise GatewayError(Reason.CERTIFICATE_NOT_ALLOWED, "the name in the client certificate is not an allowed one")
    return await handler(request)


def subjects_of(certificate: Any) -> Iterator[str]:
    """The common name and the alternative names (DNS, URI, e-mail) of a certificate as `SSLSocket.getpeercert` returns it."""
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                yield value
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind in {"DNS", "URI", "email"}:
            yield value
