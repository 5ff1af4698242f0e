"""The proofs of a caller's identity, as the published contract has them."""

from typing import Any, Final, NamedTuple


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
STRIPE_SIGNATURE: Final = _header(
    "stripeSignature",
    "Stripe-Signature",
    "`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of `<t>.<raw body>` under the endpoint's secret, at most 300 s from now.",
)
RAZORPAY_SIGNATURE: Final = _header(
    "razorpaySignature",
    "X-Razorpay-Signature",
    "`<hex>`: HMAC-SHA256 of the raw body under the webhook's secret.",
)
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

PROOFS: Final = (INTERNAL_TOKEN, STRIPE_SIGNATURE, RAZORPAY_SIGNATURE, PARTNER_SIGNATURE, PARTNER_TOKEN)
