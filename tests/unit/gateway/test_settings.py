"""Settings are read once and refused all together."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import trustme

from gateway.settings import GatewaySettings
from runtime.settings import Secret, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

ENVIRON = {
    "DATABASE_URL": "postgresql://somewhere/tallyhook",
    "STRIPE_WEBHOOK_SECRET": "whsec_new, whsec_old",
    "INTERNAL_API_TOKEN": "service",
    "ADMIN_API_TOKEN": "operator",
}


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = GatewaySettings.load(ENVIRON)
    assert (settings.public_host, settings.public_port) == ("127.0.0.1", 8080)
    assert (settings.internal_host, settings.internal_port) == ("127.0.0.1", 8081)
    assert settings.max_body_bytes == 262_144
    assert settings.stripe_webhook_secret == (Secret("whsec_new"), Secret("whsec_old"))


def test_durations_have_units() -> None:
    assert GatewaySettings.load(ENVIRON | {"SHUTDOWN_GRACE": "500ms"}).shutdown_grace == timedelta(milliseconds=500)


def test_every_problem_is_named_at_once_and_no_value_is_shown() -> None:
    with pytest.raises(SettingsError) as refusal:
        GatewaySettings.load({"DATABASE_URL": "hunter2", "PUBLIC_PORT": "99999", "STRIPE_WEBHOOK_SECRET": " , "})
    named = {problem.partition(":")[0] for problem in refusal.value.problems}
    assert named == {"DATABASE_URL", "PUBLIC_PORT", "STRIPE_WEBHOOK_SECRET", "INTERNAL_API_TOKEN", "ADMIN_API_TOKEN"}
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"INTERNAL_TLS_CERT": "cert.pem"},
        {"INTERNAL_TLS_KEY": "key.pem"},
        {"INTERNAL_TLS_CLIENT_CA": "ca.pem"},
        {"INTERNAL_TLS_CERT": "cert.pem", "INTERNAL_TLS_KEY": "key.pem", "INTERNAL_TLS_ALLOWED_SUBJECTS": "billing"},
    ],
)
def test_incomplete_tls_settings_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        GatewaySettings.load(ENVIRON | changes)


def test_unusable_tls_files_are_named_with_all_other_faults(tmp_path: Path) -> None:
    pair, other = trustme.CA().issue_cert("gateway.internal"), trustme.CA().issue_cert("gateway.internal")
    cert, key, odd, text = (tmp_path / name for name in ("cert.pem", "key.pem", "odd.pem", "text.pem"))
    pair.cert_chain_pems[0].write_to_path(cert)
    pair.private_key_pem.write_to_path(key)
    other.private_key_pem.write_to_path(odd)
    text.write_text("no certificate")
    names = ("INTERNAL_TLS_CERT", "INTERNAL_TLS_KEY", "INTERNAL_TLS_CLIENT_CA")
    good = dict(zip(names, map(str, (cert, key, cert)), strict=True))
    assert GatewaySettings.load(ENVIRON | good).internal_tls_cert == cert
    for name, file, wrong in (
        ("INTERNAL_TLS_CERT", text, "INTERNAL_TLS_CERT"),
        ("INTERNAL_TLS_KEY", odd, "INTERNAL_TLS_CERT"),  # which of the two is the wrong one only its owner knows
        ("INTERNAL_TLS_KEY", tmp_path / "gone.pem", "INTERNAL_TLS_KEY"),
        ("INTERNAL_TLS_CLIENT_CA", text, "INTERNAL_TLS_CLIENT_CA"),
    ):
        with pytest.raises(SettingsError) as refusal:
            GatewaySettings.load(ENVIRON | good | {name: str(file), "PUBLIC_PORT": "99999"})
        assert {problem.partition(":")[0] for problem in refusal.value.problems} == {wrong, "PUBLIC_PORT"}
