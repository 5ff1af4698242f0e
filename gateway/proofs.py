"""The proofs of a caller's identity, as the published contract has them."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas.providers import ProviderName, providers


class Proof(NamedTuple):
    """A security scheme under its name."""

    name: str
    scheme: dict[str, Any]


def _header(name: str, header: str, description: str) -> Proof:
    return Proof(name, {"type": "apiKey", "in": "header", "name": header, "description": description})


INTERNAL_TOKEN: Final = _header(
    "internalToken",
    "X-Internal-Token",
    "A token of a service, or of an operator where the role `admin` is needed; several are alive at once, for rotation.",
)
PROVIDER_SIGNATURES: Final[Mapping[ProviderName, Proof]] = {
    provider.name: _header(f"{provider.name}Signature", provider.signature.header, provider.signature.description)
    for provider in providers()
}
PARTNER_SIGNATURE: Final = _header(
    "partnerSignature",
    "X-Partner-Signature",
    "`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of `<t>.<raw body>` under the secret of the partner that the body names, at most "
    "300 s from now; or `sha256=<hex>`: that of the raw body alone.",
)
PARTNER_TOKEN: Final = Proof(
    "partnerToken",
    {"type": "http", "scheme": "bearer", "description": "A token of the partner that the body names; it signs nothing."},
)

PROOFS: Final = (INTERNAL_TOKEN, *PROVIDER_SIGNATURES.values(), PARTNER_SIGNATURE, PARTNER_TOKEN)
