"""
Outgoing connections: our clients trust the certificates of this machine, and use the proxy that it names.

Several libraries bring their own bundle of certificates, without any company's CA. So they are made to use the store of OpenSSL
and `curl`: SSL_CERT_FILE or SSL_CERT_DIR, else that of the system. docs/network.md lists the clients.
"""

import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_NO_PROXY: Final = "NO_PROXY"
_BUNDLE: Final = "REQUESTS_CA_BUNDLE"
VARIABLES: Final = (*_PROXIES, _NO_PROXY, _BUNDLE, "SSL_CERT_FILE", "SSL_CERT_DIR")
LOWER: Final = tuple(map(str.lower, (*_PROXIES, _NO_PROXY)))
"""The variables of proxies count in lower case too, as everywhere; in lower case they come first."""
MIRROR: Final = "TALLYHOOK_MAVEN_MIRROR"
"""The variable with the source of the jars of the local stack."""
_OURS: Final = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1")


def configure_network(environ: Mapping[str, str]) -> None:
    """
    Set the certificates and proxies of `.env` in the process environment, from which libraries read them.

    Connections to the loopback never go through a proxy.
    """
    for name in (*VARIABLES, *LOWER):
        if text := environ.get(name):
            os.environ.setdefault(name, text)
    if any(os.environ.get(name) or os.environ.get(name.lower()) for name in _PROXIES):
        direct = os.environ.get(_NO_PROXY.lower()) or os.environ.get(_NO_PROXY) or ""
        missing = [host for host in _OURS if host not in direct.split(",")]
        if direct != "*" and missing:
            os.environ[_NO_PROXY] = os.environ[_NO_PROXY.lower()] = ",".join(filter(None, (direct, *missing)))
    if bundle := ca_bundle():
        os.environ[_BUNDLE] = bundle


def ca_bundle() -> str | None:
    """Return the file or folder of the certificates that this machine trusts; None if it has none, and a library uses its own."""
    paths = ssl.get_default_verify_paths()
    return os.environ.get(_BUNDLE) or os.environ.get("CURL_CA_BUNDLE") or paths.cafile or _unless_empty(paths.capath)


def _unless_empty(folder: str | None) -> str | None:
    """Return the folder if it has certificates: a system without any has the folder nevertheless."""
    with suppress(OSError):
        return folder if folder and any(Path(folder).iterdir()) else None
    return None


def tls_context() -> ssl.SSLContext:
    """Return a TLS context for aiohttp, which makes its own when it is imported, before `.env` is read."""
    return ssl.create_default_context()


def elasticsearch_tls_options(url: str) -> dict[str, Any]:
    """Return the TLS options of a client of Elasticsearch for this address; it takes them for `https` alone."""
    bundle = ca_bundle() if url.startswith("https://") else None
    return {"ca_certs": bundle} if bundle else {}
