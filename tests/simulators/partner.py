"""A partner that sends leads: bodies, and the three ways to authenticate them."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any


def lead(external_id: str = "crm-1", partner: str = "acme", **payload: Any) -> bytes:
    return json.dumps({"partnerId": partner, "externalLeadId": external_id, "payload": payload or {"name": "Ada"}}).encode()


def sign(body: bytes, secret: str, at: float) -> str:
    """The header that signs body and time."""
    return f"t={int(at)},v1={_mac(secret, f'{int(at)}.'.encode() + body)}"


def sign_body(body: bytes, secret: str) -> str:
    """The header that signs the body alone."""
    return f"sha256={_mac(secret, body)}"


def _mac(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def settings(crm_url: str, crm_secret: str, *partners: str) -> dict[str, str]:
    """Return the environment that configures the partners: secret `<partner>-secret`, a CRM at `<crm_url>/<partner>`."""
    found = {"OUTBOUND_ALLOW": "127.0.0.0/8"}
    for partner in partners:
        prefix = f"PARTNER_{partner.upper()}"
        found |= {
            f"{prefix}_SECRET": f"{partner}-secret",
            f"{prefix}_CRM_URL": f"{crm_url}/{partner}",
            f"{prefix}_CRM_SECRET": crm_secret,
        }
    return found
