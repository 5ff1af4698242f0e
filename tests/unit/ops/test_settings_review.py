"""All faults of a `.env` are reported at once, by the names in the file, without values, before anything starts."""

from __future__ import annotations

import json
import subprocess
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway
import ops
import outbox
import projections
import streams
from ops.dev.processes import TALLYHOOK
from ops.dev.up import check_settings
from ops.processes.worker import ROLES
from ops.settings.kinds import KINDS, OF_THE_FILE, OTHERS, PROCESSES, NetworkSettings, PublishedPorts
from ops.settings.review import SETTINGS, Review, Unread, review, review_of, unread
from runtime import outgoing
from runtime.secret_files import Environ
from runtime.settings import Settings, SettingsError
from schemas.partners import PartnerSettings

if TYPE_CHECKING:
    from types import ModuleType

ROOT: Final = Path(__file__).parents[3]
GOOD: Final = {
    "DATABASE_URL": "postgresql://me:pw@db:5432/tallyhook",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092, [::1]:9093",
    "REDIS_URL": "redis://:pw@redis:6379/0",
    "ELASTICSEARCH_URL": "http://search:9200",
    "STRIPE_WEBHOOK_SECRET": "whsec_8f1c2a9d7b6e4f3085a1c9d2e7f60b4a",
    "RAZORPAY_WEBHOOK_SECRET": "a sentence that somebody has chosen",
    "INTERNAL_API_TOKEN": "q7Rk2mZx9vNb4tLw8yPc",
    "ADMIN_API_TOKEN": "H3fJ6sDg1aQe5uTi0oBn",
}
ADDRESS_FAULTS: Final = {
    "DATABASE_URL": [
        "localhost", "postgresql:/db/x", "mysql://db/x", "postgresql+psycopg://db/x", "postgresql://db:port/hunter2",
        "postgresql://db:99999/hunter2", "postgresql://db:0/hunter2", "postgresql://u:hunter2@d b/x", "postgresql://db/x?hunter2=1",
        "postgresql://db/x?sslmode=hunter2", "postgresql://u:p@ss:hunter2@db/x", "postgresql://300.1.1.1/hunter2",
        "https://db/hunter2", "postgresql://u:hunter2@db:5432:5433/x",
        "postgresql://u:hunter2@db/x\n", "postgresql://u:hunter2@db/x ",
        *(
            f"postgresql://u:p@db/x?{option}=hunter2"
            for option in ("gssencmode", "channel_binding", "load_balance_hosts", "ssl_min_protocol_version", "require_auth",
                           "sslnegotiation", "sslcertmode", "service", "hostaddr", "client_encoding", "keepalives",
                           "tcp_user_timeout")
        ),
        "postgresql://u:hunter2@a:1,b:2/x?host=z", "postgresql://u:hunter2@a,b/x?hostaddr=10.0.0.1",
        "postgresql://u:hunter2@db/x?sslmode=require&sslrootcert=system", "postgresql://u:hunter2@db/x?client_encoding=latin1",
        f"postgresql://u:hunter2@db/x?sslmode=verify-full&sslrootcert={__file__}",
        f"postgresql://u:hunter2@db/x?sslcert={__file__}&sslkey={__file__}",
    ],
    "KAFKA_BOOTSTRAP_SERVERS": [
        "hunter2", "kafka://hunter2:9092",
        "kafka:hunter2", "kafka:0", "kafka:99999", "a:9092,hunter2", "a:9092,", ",", "a:9092 b:9092",
        "hunter2..b:9092", "a:9092,hunter2 :9092",
    ],
    "REDIS_URL": ["hunter2:6379", "http://hunter2", "redis://h:port/0", "redis://h:70000", "redis://h/hunter2", "redis://u:p/q@hunter2",
                  "redis://h/0?hunter2=1", "redis://h/0?db=hunter2", "redis://h/0?socket_timeout=hunter2", "redis://h/0#hunter2",
                  "redis://u:hunter2@h:26379,h2:26379/mymaster", "redis://u:hunter2@h,h2/0", "redis+sentinel://u:hunter2@h:26379/mymaster/0",
                  "redis://h/0?retry=hunter2", "redis://h/0?encoding=hunter2", "redis://h/0?credential_provider=hunter2",
                  "redis://h/0?decode_responses=hunter2", "redis://h/3?db=5", "redis://h?db=-1", "redis://h/0?socket_timeout=0",
                  "rediss://h/0?ssl_ca_certs=/no/file"],
    "ELASTICSEARCH_URL": ["hunter2", "hunter2:9200", "http://hunter2", "redis://hunter2:1", "http://h:0", "http://h:port", "http://:9200",
                          "http://h:9200/hun ter2", "http://h:9200?hunter2=1", "http://h:9200/#hunter2",
                          "http://u:hunter2@h:9200,h2:9200", "https://u:hunter2@h,h2", "http://h:9200?"],
    "STRIPE_API_BASE": ["api.hunter2.com", "ftp://hunter2", "https://", "https://api/hun ter2", "https://u:hunter2@proxy/", "https://hunter2@proxy/",
                        "https://api.stripe.com?hunter2=1", "https://api.stripe.com/#hunter2", "https://api.stripe.com/?",
                        "https://api.stripe.com/v1/"],
    "OTEL_EXPORTER_OTLP_ENDPOINT": ["hunter2:4318", "grpc://hunter2:4317", "https://u%3Ahunter2:p@otel",
                                    "http://otel:4318?hunter2=1", "http://otel:4318/v1/traces"],
    "NOTIFY_EMAIL_URL": ["hunter2", "smtp.hunter2.example:25", "nosuch://hunter2", "mailto://hunter2:port", "mailto://",
                         "mailto://hunter2:99999", "mailto:hunter2@smtp.example.com", "mailto://h.example?from=..hunter2+x@b.de"],
    "KAFKA_OAUTH_TOKEN_URL": ["hunter2", "https://hunter2 example", "https://u:hunter2@login.example/token"],
}  # fmt: skip
SECRET_FAULTS: Final = {
    "STRIPE_WEBHOOK_SECRET": [
        "sk_live_hunter2", "rk_test_hunter2", "pk_live_hunter2", "we_1hunter2000", "rzp_live_hunter2", "https://hunter2",
        "whsec_", "whsec_…", "whsec_...", "whsec_xxxx", "changeme", "<your secret hunter2>", "${HUNTER2", "your-hunter2",
        "whsec_good,sk_live_hunter2", "whsec_hunter2 whsec_other", ",", " ", "\n", '"whsec_hunter2"', "\u201cwhsec_hunter2\u201d",
    ],
    "RAZORPAY_WEBHOOK_SECRET": ["rzp_live_hunter2", "sk_live_hunter2", "whsec_hunter2", "change-me", "'hunter2'", " ", ",,"],
    "READ_API_TOKEN": [" ", ",", "\n"],
    "SECRET_KEYS": [" ", ",", "aHVudGVyMg=="],
    "STRIPE_API_KEY": ["pk_live_hunter2", "whsec_hunter2", "we_1hunter2000", "sk_live_…", "rzp_test_hunter2", "sk_live_a b", ","],
    "INTERNAL_API_TOKEN": [
        "sk_live_hunter2", "whsec_hunter2", "CHANGE_ME", "replace-me-please", "hun ter2", "hüntér2", "TODO", "<token>",
    ],
    "ADMIN_API_TOKEN": ["pk_test_hunter2", "changeme", "rzp_live_hunter2", "xxx", "****", "your_hunter2_token"],
    "PARTNER_ACME_SECRET": ["sk_live_hunter2", "…", "rzp_live_hunter2"],
    "PARTNER_ACME_TOKEN": ["sk_live_hunter2", "<token>", "a b"],
}  # fmt: skip
OTHER_FAULTS: Final = {
    "PUBLIC_PORT": ["8_080", "8080.0", "+8080", "8e3", " ", "eighty", "-1", "65536", "80.5", '"8080"', "8080/tcp", "http"],
    "RELAY_WEB_PORT": ["eighty", "99999"],
    "STREAMS_WEB_PORT": ["tcp://10.0.0.1:6066"],
    "PUBLIC_HOST": ["http://hunter2", "hunter2:80", "[::1]", "1.2.3", "a b"],
    "RELAY_WEB_HOST": ["0.0.0.0:6060"],
    "TRUSTED_PROXIES": ["hunter2", "10.0.0.0/99", " ", ","],
    "OUTBOUND_ALLOW": ["hunter2", " ", ","],
    "INTERNAL_CONNECTIONS_MAX": ["1_000", "1000.0"],
    "CACHE_KEY_PREFIX": [" ", "hunter2\n", " hunter2", "hunter2\u200b", "a\tb"],
    "RATE_LIMIT_WEBHOOKS": ["hunter2"],
    "LEAD_TIMEOUT": ["soon", "-1s", "1_0s"],
    "CACHE_ALLOW_ALL": ["perhaps"],
    "ALERT_CHANNEL": ["pigeon"],
    "RETENTION_DAYS": ["thirty", "3_0", "30.0"],
    "LEAD_RETENTION_DAYS": ["0"],
    "POSTGRES_PASSWORD": ["hunter2/@"],
    "STRIPE_MODE": ["hunter2"],
    "STRIPE_API_RATE": ["hunter2", "1_0", "5.", "1e0"],
    "NOTIFY_MESSAGE_DOMAIN": ["hunter 2", ".", "..", "a..b", "-5", "hunter2.", "a" * 300],
    "ELASTICSEARCH_API_KEY": [" ", "hunter2 x", "hunter2\nx", "hüntér2"],
    "KAFKA_SSL_KEY": ["hunter2", "-----BEGIN PRIVATE KEY-----hunter2"],
}
SASL: Final = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_MECHANISM": "PLAIN",
    "KAFKA_SASL_USERNAME": "relay",
    "KAFKA_SASL_PASSWORD": "hunter2",
}
FAULTS: Final = {**ADDRESS_FAULTS, **SECRET_FAULTS, **OTHER_FAULTS}
EACH: Final = [(name, text) for name, texts in FAULTS.items() for text in texts]


def named(found: Review) -> set[str]:
    return {problem.partition(":")[0] for problem in found.problems}


def test_good_settings_are_good() -> None:
    assert review_of(GOOD | {"PARTNER_ACME_SECRET": "their own words", "STRIPE_API_KEY": "rk_live_8f1c2a9d"}) == Review((), ())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DATABASE_URL", "postgres://me@h1:5432,h2:5433/x?sslmode=require&target_session_attrs=read-write"),
        ("DATABASE_URL", "postgresql://me@%2Fvar%2Frun/x"),
        ("DATABASE_URL", "postgresql://me:p%40ss@[::1]:5432/x"),
        ("REDIS_URL", "rediss://user:pw@r.example"),
        ("ELASTICSEARCH_URL", "https://search.example"),
        ("ELASTICSEARCH_URL", "https://u:p@10.0.0.1:9243/prefix"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_new, whsec_old"),
        ("PUBLIC_HOST", "::"),
        ("OUTBOUND_ALLOW", "10.0.0.1/8"),
        ("REDIS_URL", "rediss://r.example/0?ssl_cert_reqs=none&socket_timeout=5"),
        ("REDIS_URL", "redis://r.example?db=1"),
        (
            "DATABASE_URL",
            "postgresql://me@db/x?hostaddr=10.0.0.1&connect_timeout=10&client_encoding=utf-8&channel_binding=require",
        ),
        ("DATABASE_URL", "postgresql://me@a:1,b:2,c/x?load_balance_hosts=random&require_auth=scram-sha-256"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:9092,\n  b:9092\n"),
        ("STRIPE_API_BASE", "https://proxy.example/stripe/"),
        ("PUBLIC_PORT", "8080\n"),
        ("NOTIFY_EMAIL_URL", "mailtos://user:pw@smtp.example.com:465/?from=shop@example.com"),
        ("STRIPE_API_KEY", "rk_live_8f1c2a9d, rk_live_0a1b2c3d"),
    ],
)
def test_unusual_settings_that_work_are_good_too(name: str, text: str) -> None:
    assert review_of(GOOD | {name: text}).problems == ()


@pytest.mark.parametrize(("name", "text"), EACH)
def test_a_value_of_the_wrong_kind_is_reported_without_the_value(name: str, text: str) -> None:
    found = review_of(GOOD | {name: text})
    assert named(found) == {name}
    problems = "\n".join(found.problems)
    assert "hunter2" not in problems.lower()
    assert "Value error" not in problems


@given(st.dictionaries(st.sampled_from(sorted(FAULTS)), st.integers(0, 30), min_size=1))
def test_however_many_are_wrong_all_are_reported_at_once(picks: dict[str, int]) -> None:
    broken = {name: FAULTS[name][pick % len(FAULTS[name])] for name, pick in picks.items()}
    found = review_of(GOOD | broken)
    assert named(found) == {*broken}
    assert "hunter2" not in "\n".join(found.problems + found.warnings).lower()


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"INTERNAL_API_TOKEN": GOOD["ADMIN_API_TOKEN"]}, {"INTERNAL_API_TOKEN"}),
        ({"INTERNAL_API_TOKEN": f"another-token,{GOOD['ADMIN_API_TOKEN']}"}, {"INTERNAL_API_TOKEN"}),
        ({"READ_API_TOKEN": GOOD["ADMIN_API_TOKEN"]}, {"READ_API_TOKEN"}),
        ({"READ_API_TOKEN": GOOD["INTERNAL_API_TOKEN"]}, {"READ_API_TOKEN"}),
        ({"RAZORPAY_WEBHOOK_SECRET": GOOD["ADMIN_API_TOKEN"]}, {"RAZORPAY_WEBHOOK_SECRET"}),
        ({"PARTNER_ACME_TOKEN": GOOD["INTERNAL_API_TOKEN"]}, {"PARTNER_ACME_TOKEN"}),
        ({"PARTNER_A_TOKEN": "shared", "PARTNER_B_SECRET": "shared"}, {"PARTNER_B_SECRET"}),
        ({"PARTNER_A_CRM_URL": "https://a", "PARTNER_A_CRM_SECRET": GOOD["ADMIN_API_TOKEN"]}, {"PARTNER_A_CRM_SECRET"}),
        ({"PARTNER_A_CRM_URL": "https://a", "PARTNER_A_CRM_SECRET": "Zm9v", "PARTNER_B_CRM_URL": "https://a",
          "PARTNER_B_CRM_SECRET": "Zm9v"}, set()),
        ({"PARTNER_A_SECRET": "Zm9v", "PARTNER_A_CRM_URL": "https://a", "PARTNER_A_CRM_SECRET": "Zm9v"}, set()),
        ({"PARTNER_A_CRM_URL": "https://crm.example"}, {"PARTNER_A_CRM_SECRET"}),
        ({"PARTNER_A_CRM_SECRET": "whsec_Zm9vYmFy"}, {"PARTNER_A_CRM_URL"}),
        ({"PUBLIC_PORT": "8081"}, {"INTERNAL_PORT"}),
        ({"RELAY_WEB_PORT": "7000", "PUBLIC_PORT": "7000"}, {"RELAY_WEB_PORT"}),
        ({"STREAMS_WEB_PORT": "7000", "RELAY_WEB_PORT": "7000"}, {"STREAMS_WEB_PORT"}),
        ({"INTERNAL_TLS_CERT": __file__}, {"INTERNAL_TLS_KEY"}),
        ({"INTERNAL_TLS_CERT": "/no/a.pem", "INTERNAL_TLS_KEY": "/no/b.pem"}, {"INTERNAL_TLS_CERT", "INTERNAL_TLS_KEY"}),
        ({"INTERNAL_TLS_ALLOWED_SUBJECTS": "billing"}, {"INTERNAL_TLS_CLIENT_CA"}),
        *(
            ({**SASL, name: text}, {name})
            for name in ("KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD")
            for text in (" ", "\n")
        ),
        ({**SASL, "KAFKA_SASL_USERNAME": "relay\n"}, {"KAFKA_SASL_USERNAME"}),
        ({"BODY_MEMORY": "10"}, {"BODY_MEMORY"}),
        # A conflict is reported together with malformed values, not only after those are fixed.
        ({"INTERNAL_API_TOKEN": GOOD["ADMIN_API_TOKEN"], "PUBLIC_PORT": "x", "BODY_MEMORY": "1"},
         {"INTERNAL_API_TOKEN", "PUBLIC_PORT", "BODY_MEMORY"}),
        *(({"ALERT_TO": to}, {"ALERT_TO"}) for to in ("ops@gmail..com", "Ops <a@b.de>", "a\nb", "a@" + "b" * 64)),
        ({"ALERT_CHANNEL": "SMS", "ALERT_TO": "+49 30 123456"}, {"ALERT_TO"}),
        ({"ALERT_CHANNEL": "SMS", "ALERT_TO": "+4930123456"}, set()),
        ({"ALERT_CHANNEL": "SMS", "ALERT_TO": "ops@gmail..com"}, set()),
        *(({"ALERT_TO": to}, set()) for to in ("ops@example.com", "zoe", "@zoe", "jürgen@example.com", "ops@jürgen.example")),
        *(({"ALERT_TO": to}, set()) for to in ("ops@night shift", "admin@tenant:42", "a@b@c.de")),  # these may be ids of users
        ({"ALERT_CHANNEL": "SMS", "ALERT_TO": "+ops"}, set()),
        *(
            ({f"{name}_URL": url, f"{name}_SECRET": "whsec_Zm9vYmFy"}, {f"{name}_URL"})
            for name in ("PARTNER_A_CRM", "ALERT_WEBHOOK")
            for url in ("https://us%3Aer:p@crm.example/", "https://u:%E2%82%AC@crm.example/", f"https://{'a' * 64}.example")
        ),
    ],
)  # fmt: skip
def test_two_settings_that_do_not_go_together_are_reported(changes: dict[str, str], names: set[str]) -> None:
    assert named(review_of(GOOD | changes, one_machine=True)) == names


def test_two_signing_secrets_that_are_one_are_doubtful() -> None:
    found = review_of(GOOD | {"PARTNER_A_SECRET": GOOD["RAZORPAY_WEBHOOK_SECRET"]})
    assert (found.problems, [warning.partition(":")[0] for warning in found.warnings]) == ((), ["RAZORPAY_WEBHOOK_SECRET"])


def test_containers_may_each_use_the_same_port() -> None:
    assert review_of(GOOD | {"RELAY_WEB_PORT": "7000", "PUBLIC_PORT": "7000"}).problems == ()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("TRUSTED_PROXYS", "TRUSTED_PROXIES"),
        ("STRIPE_WEBHOOK_SECRETS", "STRIPE_WEBHOOK_SECRET"),
        ("stripe_webhook_secret", "STRIPE_WEBHOOK_SECRET"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("REDIS_URI", "REDIS_URL"),
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("PARTNERS_ACME_CRM_URL", "PARTNER_ACME_CRM_URL"),
        ("PARTNER_ACME_URL", "PARTNER_ACME_CRM_URL"),
        ("PARTNER_ACME_ESTATES_CRM_SECERT", "PARTNER_ACME_ESTATES_CRM_SECRET"),
        ("PARTNR_ACME_TOKEN", "PARTNER_ACME_TOKEN"),
        ("PARTNER_SECRET", "PARTNER_{ID}_SECRET"),
        ("PARTNER_acme_SECRET", "PARTNER_ACME_SECRET"),
        ("PARTNER_ACME-NORTH_TOKEN", "PARTNER_ACME_NORTH_TOKEN"),
        ("LEAD_MAX_ATEMPTS", "LEAD_MAX_ATTEMPTS"),
    ],
)
def test_a_slip_in_a_name_is_reported_with_the_name_that_was_meant(tmp_path: Path, written: str, meant: str) -> None:
    (tmp_path / ".env").write_text(f"\n{written}=hunter2\n")
    [slip] = [problem for problem in review(tmp_path).problems if problem.startswith(f"{written}: ")]
    assert slip == f"{written}: is no setting; {meant} is (line 2 of .env)"
    found = review_of({**GOOD, written: "hunter2"})  # the environment may have names of other programs
    assert [warning.startswith(f"{written}: is no setting; {meant} is") for warning in found.warnings] in ([True], [])
    assert named(found) <= {meant}


@pytest.mark.parametrize(
    "name",
    ["PATH", "HOME", "PGPASSWORD", "COMPOSE_PROJECT_NAME", "POSTGRES_USER", "POSTGRES_DB", "OTEL_SERVICE_NAME", "MY_DATABASE_URL",
     "NODE_ENV", "HTTP_PROXY", "REDIS_PORT", "PUBLIC_URL", "DJANGO_SETTINGS_MODULE"],
)  # fmt: skip
def test_names_of_others_are_left_alone(name: str) -> None:
    assert [slip for slip in unread([name], families=False) if slip.near] == []


@pytest.mark.parametrize("name", ["REDIS_SERVICE_HOST", "RELAY_WEB_PORT_6060_TCP_ADDR", "PUBLIC_PORT_8080_TCP"])
def test_the_links_that_kubernetes_sets_are_left_alone(name: str) -> None:
    assert review_of(GOOD | {name: "tcp://10.0.0.1:1"}) == Review((), ())


def test_unreadable_lines_of_a_file_are_reported_by_their_numbers(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        'A=1\n\nB hunter2=2\nC="hunter2\n\nRELAY_BATCH=${HUNTER_NOT_SET}\nPUBLIC_PORT=1\nPUBLIC_PORT=2\n'
    )
    found = review(tmp_path, provided=GOOD)
    assert [problem[:13] for problem in found.problems] == [".env: line 3 ", ".env: line 4 ", "RELAY_BATCH: "]
    assert any("lines 7, 8" in warning for warning in found.warnings)
    assert "hunter2" not in "".join(found.problems)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HTTPS_PROXY", "hunter2:3128"), ("http_proxy", "hunter2"), ("HTTP_PROXY", "http://"), ("ALL_PROXY", "http://u:hunter2@h:port"),
        ("SSL_CERT_FILE", "/no/hunter2"), ("SSL_CERT_FILE", "/"), ("SSL_CERT_DIR", "/no/hunter2"),
        ("REQUESTS_CA_BUNDLE", "hunter2"),
        ("TALLYHOOK_MAVEN_MIRROR", "hunter2"), ("TALLYHOOK_MAVEN_MIRROR", "ftp://hunter2"),
        ("POSTGRES_PORT", "hunter2"), ("KAFKA_PORT", "99999"), ("WORKER_CACHE_PORT", "0"), ("REDIS_PORT", "6_379"),
        ("REQUESTS_CA_BUNDLE", "a" * 5000), ("SSL_CERT_DIR", "a" * 5000), ("SSL_CERT_FILE", "a" * 5000),
        ("TALLYHOOK_MAVEN_MIRROR", "https://mirror?hunter2"),
    ],
)  # fmt: skip
def test_variables_of_libraries_and_compose_are_checked_as_the_file_has_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / ".env").write_text(f"{name}={text}\n")
    found = review(tmp_path, provided=GOOD)
    assert named(found) == {name.upper()}
    assert "hunter2" not in "\n".join(found.problems)


def test_the_network_and_the_ports_of_compose_may_be_set(tmp_path: Path) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.touch()
    (tmp_path / ".env").write_text(
        f"SSL_CERT_FILE={certificates}\nSSL_CERT_DIR={tmp_path}\nREQUESTS_CA_BUNDLE={tmp_path}\nNO_PROXY=*\nPOSTGRES_PORT=15432\n"
        "HTTPS_PROXY=http://u:p%40ss@proxy:3128\nhttp_proxy=http://proxy:3128\nno_proxy=.local\nALL_PROXY=socks5h://[::1]:1080\nTALLYHOOK_MAVEN_MIRROR=https://u:p@maven/x\n"
    )
    assert review(tmp_path, provided=GOOD) == Review((), ())


def test_every_variable_of_the_network_and_every_worker_has_a_field() -> None:
    assert {name.upper() for name in NetworkSettings.model_fields} == {*outgoing.VARIABLES, outgoing.MIRROR}
    workers = {f"worker_{role}_port" for role in ROLES}
    assert workers <= PublishedPorts.model_fields.keys()


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS, *OF_THE_FILE])
def test_no_fault_of_any_setting_is_reported_in_the_words_of_a_library(kind: type[Settings]) -> None:
    for field in kind.model_fields.keys() - {"partners"}:
        for text in ("hunter2", "-1", "1.5", "9" * 40, "nan", " ", "hun\tter2", "\u0661"):
            for problem in review_problems(kind, field.upper(), text):
                assert "hunter2" not in problem
                assert problem.partition(": ")[2][:1].islower(), problem


def review_problems(kind: type[Settings], name: str, text: str) -> list[str]:
    try:
        kind.load({name: text})
    except SettingsError as error:
        return [problem for problem in error.problems if problem.startswith(f"{name}: ")]
    return []


@pytest.mark.parametrize(
    ("line", "doubtful"),
    [
        ("ADMIN_API_TOKEN=abc$def", True), ('ADMIN_API_TOKEN="abc$$def"', True), ("export A = b$_c", True),
        ("ADMIN_API_TOKEN='abc$def'", False), ("ADMIN_API_TOKEN=abc$1", False), ("ADMIN_API_TOKEN=${ADMIN_API_TOKEN}", False),
        ("# costs $one", False), ("PUBLIC_PORT", True), ("export PUBLIC_PORT", True), ("PUBLIC_PORT=", False),
    ],
)  # fmt: skip
def test_a_line_that_docker_compose_would_read_otherwise_is_doubtful(tmp_path: Path, line: str, doubtful: bool) -> None:
    (tmp_path / ".env").write_text(f"{line}\n")
    assert bool(review(tmp_path, provided=GOOD).warnings) is doubtful


def test_a_file_that_is_no_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe")
    assert named(review(tmp_path, provided=GOOD)) == {".env"}
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfPUBLIC_PORT=8090\r\n")  # as an editor on Windows writes it
    assert review(tmp_path, provided=GOOD).problems == ()


def test_a_fault_for_another_process_is_a_warning_and_its_missing_settings_are_not() -> None:
    relay = {name: GOOD[name] for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")}
    found = review_of(relay | {"PUBLIC_PORT": "x"}, processes=["relay"])
    assert (found.problems, [warning.partition(":")[0] for warning in found.warnings]) == ((), ["PUBLIC_PORT"])


def test_the_settings_of_every_process_and_command_are_looked_at() -> None:
    packages: tuple[ModuleType, ...] = (gateway, ops, outbox, projections, streams)
    for package in packages:
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith(("settings", "retention")):
                import_module(module.name)
    looked_at = {base for kind in (*KINDS, *OTHERS, *OF_THE_FILE) for base in kind.__mro__} | {PartnerSettings}
    assert [kind for kind in _kinds_below(Settings) if kind not in looked_at and not kind.__module__.startswith("tests")] == []
    assert {f"worker-{name}": role.settings for name, role in ROLES.items()}.items() <= {
        name: kinds[0] for name, kinds in PROCESSES.items()
    }.items()


def test_every_setting_of_the_example_is_known() -> None:
    lines = (ROOT / "env.example").read_text().splitlines()
    shown = {line.lstrip("#").partition("=")[0] for line in lines if "=" in line and not line.startswith("# ")}
    assert {name for name in shown if "{" not in name} <= SETTINGS


def _kinds_below(kind: type[Settings]) -> list[type[Settings]]:
    return [each for below in kind.__subclasses__() for each in (below, *_kinds_below(below))]


BROKEN: Final = "PUBLIC_PORT=eighty\nTRUSTED_PROXYS=10.0.0.0/8\nSTRIPE_WEBHOOK_SECRET=sk_live_hunter2\nDATABASE_URL=postgresql://h:x/hunter2\n"
NAMED: Final = {"PUBLIC_PORT", "TRUSTED_PROXYS", "STRIPE_WEBHOOK_SECRET", "DATABASE_URL"}


def test_up_starts_nothing_with_a_broken_file_and_generates_missing_values(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(BROKEN)
    with pytest.raises(SettingsError) as caught:
        check_settings(tmp_path, print)
    assert {problem.partition(":")[0] for problem in caught.value.problems[:-1]} == NAMED
    assert (tmp_path / ".env").read_text() == BROKEN
    (tmp_path / ".env").write_text("")
    check_settings(tmp_path, print)


@pytest.mark.parametrize("arguments", [["check"], ["gateway"]])
def test_the_command_reports_all_of_it_and_fails(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / ".env").write_text(BROKEN)
    ended = subprocess.run([TALLYHOOK, *arguments], cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    output = ended.stdout + ended.stderr
    assert [name for name in NAMED if f"{name}: " not in output] == []
    assert "hunter2" not in output
    assert "Traceback" not in output


@pytest.mark.parametrize("name", ["INTERNAL_API_TOKEN", "ADMIN_API_TOKEN", "STRIPE_API_KEY", "CACHE_KEY_PREFIX", "DATABASE_URL"])
def test_bytes_that_are_not_utf8_are_reported_by_the_name_of_their_variable(name: str) -> None:
    assert review_of(GOOD | {name: "hunter2\udcff"}).problems == (f"{name}: is not UTF-8",)


def test_neither_half_of_a_pair_is_missing_because_the_other_is_not_utf8() -> None:
    pair = {"PARTNER_A_CRM_URL": "https://crm.example", "PARTNER_A_CRM_SECRET": "whsec_Zm9vYmFy"}
    for name, text in pair.items():
        assert review_of(GOOD | pair | {name: f"{text}\udcff"}).problems == (f"{name}: is not UTF-8",)


def test_no_default_in_place_of_a_value_that_is_not_utf8_contradicts_others() -> None:
    login = {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USERNAME": "relay", "KAFKA_SASL_PASSWORD": "hunter2"}
    garbled = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL\udca0"}
    assert review_of(GOOD | login | garbled).problems == ("KAFKA_SECURITY_PROTOCOL: is not UTF-8",)


@pytest.mark.parametrize("arguments", [["check"], ["gateway"]])
def test_the_command_reports_bytes_that_are_not_utf8_and_names_in_full(tmp_path: Path, arguments: list[str]) -> None:
    environ = {name.encode(): text.encode() for name, text in GOOD.items()} | {b"PYTHONIOENCODING": b"utf-8:strict"}
    environ |= {b"INTERNAL_API_TOKEN": b"hunter2\xff", b"STRIPE_API_KE\xff": b"x", b"ADMIN_API_TOKEN": b""}
    environ |= {b"ADMIN_API_TOKEN_FILE": b"/nowhere/\xff"}
    ended = subprocess.run([TALLYHOOK, *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    output = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert "INTERNAL_API_TOKEN: is not UTF-8\n" in output
    assert "ADMIN_API_TOKEN: its file /nowhere/\\udcff cannot be read" in output
    assert "hunter2" not in output
    assert "Traceback" not in output


def test_a_process_logs_doubtful_settings_and_starts(tmp_path: Path) -> None:
    environ = {
        "DATABASE_URL": "postgresql://127.0.0.1:1/x",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "TRUSTED_PROXYS": "hunter2",
    }
    with subprocess.Popen([TALLYHOOK, "relay"], cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True) as relay:
        assert relay.stderr
        line = json.loads(relay.stderr.readline())
        relay.kill()
    assert (line["event"], line["process"], line["level"]) == ("setting_doubtful", "relay", "warning")
    assert line["detail"] == "TRUSTED_PROXYS: is no setting; TRUSTED_PROXIES is"


def test_the_check_is_for_programs_too_and_for_one_process(tmp_path: Path) -> None:
    def run(*arguments: str, **environ: str) -> tuple[int, dict[str, object]]:
        command = [TALLYHOOK, "check", "--json", *arguments]
        ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        return ended.returncode, json.loads(ended.stdout)

    relay = {name: GOOD[name] for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")}
    assert run("relay", **relay) == (0, {"ok": True, "problems": [], "warnings": []})
    code, report = run(**relay)
    assert (code, report["ok"]) == (1, False)


def test_a_file_of_a_setting_is_a_setting_too_and_a_slip_in_its_name_is_found() -> None:
    assert [*unread(["STRIPE_WEBHOOK_SECRET_FILE", "PARTNER_ACME_TOKEN_FILE", "SECRETS_DIR"], families=True)] == []
    slip = Unread("STRIPE_WEBHOK_SECRET_FILE", "STRIPE_WEBHOOK_SECRET_FILE", near=True)
    assert [*unread(["STRIPE_WEBHOK_SECRET_FILE"], families=False)] == [slip]


@pytest.mark.parametrize("name", ["KAFKA_SASL_USERNAME", "KAFKA_BOOTSTRAP_SERVERS", "INTERNAL_TLS_KEY"])
def test_a_file_of_a_setting_that_is_no_secret_is_not_ignored_in_silence(tmp_path: Path, name: str) -> None:
    assert [*unread([f"{name}_FILE"], families=False)] == [Unread(f"{name}_FILE", name, near=True)]
    (tmp_path / name).write_text("hunter2")
    (tmp_path / "READ_API_TOKEN").write_text("a1b2c3d4e5f6")
    [warning] = review_of(Environ(GOOD | {"SECRETS_DIR": str(tmp_path)})).warnings
    assert warning == f"{name}: is in SECRETS_DIR and not read from there, where only secrets and addresses are"


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SECRETS_DIR", "INTERNAL_TLS_CLIENT_CA", "ADMIN_API_TOKEN_FILE"])
def test_a_nul_in_the_file_is_reported_by_its_line(tmp_path: Path, name: str) -> None:
    (tmp_path / ".env").write_text(f"{name}=hunter2\0\n")
    assert review(tmp_path, provided=GOOD).problems == (f"{name}: has a NUL character in it (line 1 of .env)",)
