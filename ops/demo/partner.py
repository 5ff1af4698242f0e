"""The partner of the local stack: a lead as it sends one, and its CRM, which is the stack's own sink."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING, Final

import orjson

from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTNER: Final = "demo"
_PREFIX: Final = f"PARTNER_{PARTNER.upper()}"


def partner_environment(known: Mapping[str, str], sink_port: int) -> dict[str, str]:
    """Return the settings that add the partner to a stack; none if it is already configured."""
    if any(name.startswith(f"{_PREFIX}_") for name in known):
        return {}
    return {
        f"{_PREFIX}_SECRET": partner_secret(known),
        f"{_PREFIX}_CRM_SECRET": base64.b64encode(_derived(known, "crm")).decode(),
        f"{_PREFIX}_CRM_URL": f"http://{LOOPBACK}:{sink_port}/crm/{PARTNER}",
        "OUTBOUND_ALLOW": ",".join(filter(None, (known.get("OUTBOUND_ALLOW"), f"{LOOPBACK}/32"))),
    }


def partner_secret(known: Mapping[str, str]) -> str:
    """Return the secret that signs the partner's leads; it is derived from the installation's own secrets."""
    return _derived(known, "leads").hex()


def lead() -> bytes:
    """A new lead, with a new id."""
    payload = {"name": "Ada Lovelace", "email": "ada@example.com", "interest": "a flat with a view"}
    return orjson.dumps({"partnerId": PARTNER, "externalLeadId": f"crm-{secrets.token_hex(6)}", "payload": payload})


def sign(body: bytes, secret: str) -> str:
    """The `X-Partner-Signature` header of a body sent now."""
    now = int(time.time())
    return f"t={now},v1={hmac.new(secret.encode(), f'{now}.'.encode() + body, hashlib.sha256).hexdigest()}"


def _derived(known: Mapping[str, str], purpose: str) -> bytes:
    root = known.get("ADMIN_API_TOKEN", "").partition(",")[0]
    return hmac.new(root.encode(), f"tallyhook demo partner {purpose}".encode(), hashlib.sha256).digest()
