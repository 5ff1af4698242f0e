"""The doctor's findings about settings, secrets and clocks, which need no server."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
import trustme

from ops.doctor import examination
from ops.doctor.certificates import check_certificates
from ops.doctor.examination import examine
from ops.doctor.findings import Finding, ok
from ops.doctor.kafka import _check_sizes
from ops.doctor.listeners import check_listeners
from ops.doctor.postgres import _check_clock
from ops.doctor.refusals import judge_modes
from ops.doctor.settings import check_secrets, check_settings
from ops.processes.worker import ROLES
from ops.settings.kinds import KINDS
from schemas.stripe import PROVIDER
from schemas.topics import TOPICS

ROOT: Final = Path(__file__).parents[3]
GOOD: Final = {
    "STRIPE_WEBHOOK_SECRET": "whsec_8f1c2a9d7b6e4f3085a1c9d2e7f60b4a",
    "RAZORPAY_WEBHOOK_SECRET": "Xb2nq9vT4kLm7rWz1cYd",
    "INTERNAL_API_TOKEN": "q7Rk2mZx9vNb4tLw8yPc",
    "ADMIN_API_TOKEN": "H3fJ6sDg1aQe5uTi0oBn",
}


def findings_of(environ: dict[str, str], folder: Path) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in check_secrets(environ, folder)]


def test_all_problems_of_all_processes_are_reported_at_once() -> None:
    found = check_settings({"LEAD_TIMEOUT": "soon", "RELAY_BATCH": "0"})
    assert {finding.level for finding in found} == {"fail"}
    texts = "\n".join(finding.text for finding in found)
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "STRIPE_WEBHOOK_SECRET", "REDIS_URL", "LEAD_TIMEOUT", "RELAY_BATCH"):
        assert f"{name}: " in texts
    assert len(found) == len({finding.text for finding in found})
    assert all(finding.act for finding in found)


def test_the_settings_of_every_role_are_looked_at() -> None:
    assert {role.settings for role in ROLES.values()} <= {*KINDS}


def test_good_secrets_are_good(tmp_path: Path) -> None:
    assert findings_of(GOOD, tmp_path) == [("ok", "all present, and none of them can be guessed")]


@pytest.mark.parametrize("value", ["changeme", "whsec_", "your-secret-goes-here", "whsec_example0000000000", "xxxxxxxxxxxxxxxxx"])
def test_a_placeholder_is_a_failure(value: str, tmp_path: Path) -> None:
    [finding] = check_secrets(GOOD | {"STRIPE_WEBHOOK_SECRET": value}, tmp_path)
    assert finding.level == "fail"
    assert "placeholder" in finding.text
    assert value not in "".join(finding)


def test_a_short_token_and_a_secret_that_is_not_stripes_are_warned_of(tmp_path: Path) -> None:
    found = findings_of(
        GOOD | {"INTERNAL_API_TOKEN": "abc123", "STRIPE_WEBHOOK_SECRET": "sk_live_8f1c2a9d7b6e4f3085a1c9d2"}, tmp_path
    )
    assert [level for level, _ in found] == ["warn", "warn"]
    assert "whsec_" in found[0][1]
    assert "6 characters" in found[1][1]


def test_a_token_that_is_an_operators_too_is_a_failure(tmp_path: Path) -> None:
    [(level, text)] = findings_of(GOOD | {"INTERNAL_API_TOKEN": GOOD["ADMIN_API_TOKEN"]}, tmp_path)
    assert (level, "operator" in text) == ("fail", True)


def test_a_secret_that_two_share_is_warned_of(tmp_path: Path) -> None:
    [(level, text)] = findings_of(GOOD | {"RAZORPAY_WEBHOOK_SECRET": GOOD["STRIPE_WEBHOOK_SECRET"]}, tmp_path)
    assert (level, "share" in text) == ("warn", True)


def test_a_rotation_in_progress_is_no_fault_and_its_end_is_advised(tmp_path: Path) -> None:
    [finding] = check_secrets(GOOD | {"ADMIN_API_TOKEN": f"{GOOD['ADMIN_API_TOKEN']},k9Lm3nBv7cXz5aSd1fGh"}, tmp_path)
    assert (finding.level, "2 live" in finding.text, "safeToDrop" in finding.act) == ("ok", True, True)


def test_a_partner_that_cannot_be_delivered_to_or_cannot_send_is_warned_of(tmp_path: Path) -> None:
    crm = {"PARTNER_DUMB_CRM_URL": "https://crm.example", "PARTNER_DUMB_CRM_SECRET": "whsec_Zm9vYmFyYmF6cXV4cXV1eA=="}
    found = findings_of(GOOD | {"PARTNER_ACME_SECRET": "w8Er5tYu2iOp9aSd4fGh"} | crm, tmp_path)
    assert [(level, text.split(":")[0]) for level, text in found] == [
        ("warn", "partner ACME has no CRM_URL"),
        ("warn", "partner DUMB has neither a secret nor a token"),
    ]


def test_an_env_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.touch(mode=0o600)
    assert findings_of(GOOD, tmp_path) == [("ok", "all present, and none of them can be guessed")]
    file.chmod(0o644)
    assert findings_of(GOOD, tmp_path)[-1][0] == "warn"


@pytest.mark.parametrize(
    ("seconds", "level"), [(0.2, "ok"), (-0.9, "ok"), (2, "warn"), (-29, "warn"), (31, "fail"), (-99, "fail")]
)
def test_a_clock_may_be_off_by_a_second(seconds: float, level: str) -> None:
    assert _check_clock(timedelta(seconds=seconds)).level == level


def test_every_page_that_the_doctor_names_exists() -> None:
    pages = set()
    for file in sorted((ROOT / "ops/doctor").glob("*.py")):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        pages |= {call.args[3].value for call in calls if getattr(call.func, "id", "") in {"fail", "warn"} and len(call.args) > 3}
    assert len(pages) > 10
    assert [page for page in sorted(pages) if not (ROOT / f"runbooks/{page}.md").exists()] == []


def test_an_examination_that_breaks_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(_: object) -> list[Finding]:
        raise ZeroDivisionError("by nothing")

    for name in ("check_settings", "check_postgres", "check_kafka", "check_elasticsearch", "check_listeners"):
        monkeypatch.setattr(examination, name, lambda _: [ok("here", "well")])
    monkeypatch.setattr(examination, "check_redis", broken)
    found = examine(GOOD, tmp_path)
    [finding] = [finding for finding in found if finding.level == "fail"]
    assert (finding.area, "ZeroDivisionError: by nothing" in finding.text) == ("redis", True)
    assert len(found) == 7


@pytest.mark.parametrize(
    ("wanted", "live", "test", "level", "word"),
    [
        ("any", 3, 2, "warn", "(3 and 2)"), ("any", 3, 0, None, ""), ("any", 0, 2, None, ""), ("any", 0, 0, None, ""),
        ("live", 3, 2, "ok", "2 test events"), ("live", 0, 2, "warn", "all 2 events"), ("live", 3, 0, None, ""),
        ("test", 3, 2, "warn", "3 live events"), ("test", 0, 2, None, ""),
    ],
)  # fmt: skip
def test_live_and_test_events_that_are_not_distinguished_are_reported(
    wanted: str, live: int, test: int, level: str | None, word: str
) -> None:
    found = [*judge_modes(PROVIDER, wanted, live, test)]
    assert [finding.level for finding in found] == ([] if level is None else [level])
    for finding in found:
        assert word in finding.text
        assert finding.level == "ok" or ("STRIPE_MODE" in finding.act and finding.runbook == "runbooks/test-and-live.md")


def test_a_port_that_is_none_is_a_fault_of_the_settings_and_no_bug_of_the_doctor() -> None:
    ports = {"PUBLIC_PORT": "²", "INTERNAL_PORT": "9" * 5000, "RELAY_WEB_PORT": "\uff11\uff10", "STREAMS_WEB_PORT": "0"}
    assert list(check_listeners(ports)) == []
    assert {finding.text.partition(":")[0] for finding in check_settings(ports)} >= {*ports} - {"STREAMS_WEB_PORT"}


def test_topics_that_cannot_take_the_largest_body_are_reported() -> None:
    limits = dict.fromkeys(TOPICS, 1_048_588)
    assert [*_check_sizes(limits, 262_144)] == []
    [alone] = _check_sizes(limits, 1_000_000)
    assert (alone.level, alone.text) == (
        "warn",
        "topics take no record with a body of MAX_BODY_BYTES, 1000000: dead-letters",
    )  # which holds it as base64
    [found] = _check_sizes(limits, 5_000_000)
    assert all(topic in found.text for topic in ("webhooks.stripe", "lead.partner.events", "property.events"))
    assert [*_check_sizes(dict.fromkeys(TOPICS, 8_000_000), 5_000_000)] == []


def test_authorities_that_have_all_expired_are_reported(tmp_path: Path) -> None:
    past, current = tmp_path / "past.pem", tmp_path / "current.pem"
    authority = trustme.CA()
    old = authority.issue_cert("old.example", not_after=datetime(2020, 1, 1, tzinfo=UTC)).cert_chain_pems[0].bytes()
    past.write_bytes(old)
    current.write_bytes(old + authority.cert_pem.bytes())
    for name in ("KAFKA_SSL_CA", "INTERNAL_TLS_CLIENT_CA"):
        [found] = check_certificates({name: str(past)})
        assert (found.level, found.text[: len(name)]) == ("fail", name)
        assert [*check_certificates({name: str(current)})] == []
