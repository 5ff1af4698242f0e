"""Errors that are logged, printed, answered or stored contain no secret of the process, however they quote it."""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

import psycopg
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from runtime import redaction
from runtime.excerpts import described, excerpt_of
from runtime.logs import configure_logs
from runtime.redaction import HIDDEN, Redaction, error_text, redacted
from runtime.settings import DatabaseUrl, ServerUrl, Settings, SettingsError
from schemas.partners import PartnerSettings
from streams.notifications.settings import ProviderUrl  # noqa: TC001  # pydantic resolves it

if TYPE_CHECKING:
    from collections.abc import Iterator

AWKWARD: Final = (
    "p@ss%zzword",
    "a:b/c#d?e=fgh&i",
    "with space 'and' \"quotes\"",
    "pässwörd☃",
    "p%40ss%2Fword",
    "line\nbreak%0A!",
    "\\back$lash{}",
)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    before = redaction._current
    yield
    redaction._current = before


def written(secret: str) -> list[str]:
    raw = secret.encode()
    in_url = [quote(secret), quote(secret, safe=""), quote_plus(secret), re.sub("%..", lambda it: it[0].lower(), quote(secret))]
    in_text = [repr(secret)[1:-1], repr(raw)[2:-1], json.dumps(secret)[1:-1], base64.b64encode(raw).decode()]
    return [secret, *in_url, *in_text]


@pytest.mark.parametrize("secret", AWKWARD)
@pytest.mark.parametrize("name", ["ADMIN_API_TOKEN", "STRIPE_API_KEY", "PARTNER_ACME_CRM_SECRET", "PARTNER_ACME_TOKEN"])
def test_a_secret_setting_is_hidden_however_it_is_written(name: str, secret: str) -> None:
    hide = Redaction.of({name: secret}).apply
    for text in written(secret):
        assert HIDDEN in hide(f"before {text} after"), text
        assert text not in hide(f"before {text} after"), text


@pytest.mark.parametrize("secret", AWKWARD)
@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "ELASTICSEARCH_URL", "PARTNER_ACME_CRM_URL", "NOTIFY_EMAIL_URL"])
@pytest.mark.parametrize("quoted", [True, False])
def test_a_password_in_an_address_is_hidden_quoted_or_not(name: str, secret: str, *, quoted: bool) -> None:
    there = quote(secret, safe="") if quoted else secret
    url = f"scheme://app:{there}@host.example:5432/name"
    hide = Redaction.of({name: url}).apply
    for text in (*written(secret), url, f"{there}@host.example", there):
        assert secret not in hide(text)
        assert there not in hide(text)


@pytest.mark.parametrize(
    "url", ["postgresql://app:p@ss%zz@h/x", "postgresql://app:se%zzcret@h/x", "postgresql://app:pa/sswo%zzrd@h/x"]
)
def test_a_part_of_a_password_that_libpq_quotes_is_hidden(url: str) -> None:
    redaction.hide_secrets_of({"DATABASE_URL": url})
    with pytest.raises(psycopg.ProgrammingError) as refused:
        conninfo_to_dict(url)
    shown = error_text(refused.value)
    assert not [part for part in ("ss%zz", "se%zzcret", "sswo%zzrd") if part in shown]


@given(st.text(min_size=4, max_size=30, alphabet=st.characters(exclude_categories=["Cs"])))
def test_no_secret_survives(secret: str) -> None:
    hide = Redaction.of({"INTERNAL_API_TOKEN": secret}).apply
    assert secret not in hide(f"<{secret}>")


PIECES: Final = st.text(alphabet="ab*%&é", min_size=1, max_size=8)


@given(st.lists(PIECES, max_size=12), st.lists(PIECES, max_size=4), st.data())
def test_many_secrets_are_replaced_like_one_after_the_other(
    secrets: list[str], addresses: list[str], data: st.DataObject
) -> None:
    """The longest is replaced first, and a form may appear only because of an earlier replacement."""
    known = Redaction(secrets, [f"x://u:{each}@h" for each in addresses])
    forms = [form for form, _ in known._replacements]
    text = "".join(data.draw(st.lists(st.sampled_from(forms) | PIECES if forms else PIECES, max_size=8)))
    expected = text
    for found, shown_as in known._replacements:
        expected = expected.replace(found, shown_as)
    assert known.apply(text) == expected


class Counting(str):
    """A text that counts the searches in it, and the pieces that are cut out of it."""

    __slots__ = ("looks",)

    def __contains__(self, part: object) -> bool:
        self.looks = getattr(self, "looks", 0) + 1
        return super().__contains__(part)  # type: ignore[operator]  # a text

    def __getitem__(self, place: Any) -> str:
        self.looks = getattr(self, "looks", 0) + 1
        return super().__getitem__(place)


def test_the_work_for_a_text_does_not_grow_with_the_number_of_secrets() -> None:
    def looks(number: int) -> int:
        text = Counting("the CRM at https://crm.example.com/leads refuses whsec_ and Bearer: no live secret has signed this body")
        secrets = [f"whsec_{number_:032x}" for number_ in range(number)]
        assert Redaction(secrets, [f"https://u:p@crm{each}.example.com/" for each in range(number)]).apply(text) == text
        return text.looks

    assert looks(2000) <= looks(20) * 2


@pytest.mark.parametrize("secret", ["a", "no", "abc"])
def test_a_short_secret_leaves_the_rest_readable(secret: str) -> None:
    assert Redaction.of({"ADMIN_API_TOKEN": secret}).apply("cannot connect to abc") == "cannot connect to abc"


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"DATABASE_URL": "postgresql://app:s3cret!@db:5432/tallyhook"}, "user app cannot reach db:5432, database tallyhook"),
        (
            {"NOTIFY_EMAIL_URL": "mailto://127.0.0.1:2525/?from=no-reply@tallyhook.local&name=Tallyhook"},
            "from 127.0.0.1:2525 Tallyhook",
        ),
        ({"NOTIFY_SMS_URL": "json://127.0.0.1:8025/sms"}, "POST /sms to 127.0.0.1:8025"),
        ({"PUBLIC_URL": "http://127.0.0.1:8080"}, "listens on http://127.0.0.1:8080"),
        ({"LEAD_TIMEOUT": "15 seconds", "COMMAND_TOKENS": "1000"}, "waited 15 seconds for 1000"),
    ],
)
def test_a_text_without_a_secret_stays(environ: dict[str, str], text: str) -> None:
    assert Redaction.of(environ).apply(text) == text


@pytest.mark.parametrize(
    ("name", "url", "secret"),
    [
        ("NOTIFY_PUSH_URL", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/", "TIiajkdnlazkcOXrIdevi7FQ"),
        ("NOTIFY_SMS_URL", "twilio://AC735307c62944b5a:e29dfbcebf390dee9@12127567890/{to}", "e29dfbcebf390dee9"),
        ("NOTIFY_SMS_URL", "json://host/path?apikey=letmein99", "letmein99"),
        ("NOTIFY_PUSH_URL", "tgram://123456789:abcdefg1hijklmnop/12315544/", "abcdefg1hijklmnop"),
        ("PARTNER_ACME_CRM_URL", "https://crm.example/hooks/aK39fjeLs02?key=opensesame", "opensesame"),
        ("PARTNER_ACME_CRM_URL", "https://crm.example/hooks/aK39fjeLs02?key=opensesame", "aK39fjeLs02"),
        ("DATABASE_URL", "postgresql://db/name?user=app&password=opensesame", "opensesame"),
        ("REDIS_URL", "redis://opensesame@host", "opensesame"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer opensesame", "opensesame"),
    ],
)
def test_tokens_elsewhere_in_an_address_are_hidden(name: str, url: str, secret: str) -> None:
    hide = Redaction.of({name: url}).apply
    assert secret not in hide(f"cannot reach {url}: {secret} in {url.partition('://')[2]}")


def test_the_detail_of_postgres_about_a_row_is_not_shown() -> None:
    shown = error_text('duplicate key value violates "contacts_pkey"\nDETAIL:  Key (email)=(jo@example.com) already exists.')
    assert shown == 'duplicate key value violates "contacts_pkey"\nDETAIL: (not shown)'
    assert "jo@" not in error_text(
        "new row violates\nDETAIL:  Failing row contains (1, jo@example.com,\n second line).\nHINT: none"
    )


class Reading(Settings):
    database_url: DatabaseUrl = ""
    redis_url: ServerUrl = ""
    notify_push_url: ProviderUrl = ""


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://a:se%zzcret@h/x"),
        ("DATABASE_URL", "postgresql://a:se@cret@h/x"),
        ("DATABASE_URL", "mysql://a:secret@h/x"),
        ("DATABASE_URL", "postgresql://h:secret/x?y"),
        ("REDIS_URL", "redis://a:b@%zz:/cret@h:6379/0"),
        ("REDIS_URL", "redis://a:12/cret@h:6379/0"),
        ("REDIS_URL", "redis://a:[cret@h:6379/0"),
        ("NOTIFY_PUSH_URL", "json://a:[cret@h/x"),
        ("PARTNER_ACME_CRM_URL", "https://a:b@cr%et/x@h/"),
        ("PARTNER_ACME_CRM_URL", "https://a:b/cret@h/"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_showing_it(name: str, url: str) -> None:
    kind = PartnerSettings if name.startswith("PARTNER_") else Reading
    with pytest.raises(SettingsError) as refused:
        kind.load({name: url, "PARTNER_ACME_CRM_SECRET": "c2VjcmV0"})
    assert name.removeprefix("PARTNER_") in str(refused.value)
    assert not [piece for piece in ("cret", "%zz", "cr%et") if piece in str(refused.value)]


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("NOTIFY_PUSH_URL", "tgram://123456789:abcdefg_hijklmnop/12315544/"),  # a token where others have a port
        ("NOTIFY_PUSH_URL", "json://127.0.0.1:8025/push/{to}"),
        ("REDIS_URL", "unix:///run/redis.sock"),
        ("REDIS_URL", "redis://app:p%40%25@[::1]:6379/0"),
        ("DATABASE_URL", "postgresql://app:p%40@one:5432,two:5433/x"),
        ("DATABASE_URL", "postgresql:///x?host=/run/postgresql"),
        ("PARTNER_ACME_CRM_URL", "https://crm.münchen.example/@me?to=ops@example.com"),
    ],
)
def test_an_address_that_can_be_read_is_taken(name: str, url: str) -> None:
    kind = PartnerSettings if name.startswith("PARTNER_") else Reading
    assert kind.load({name: url, "PARTNER_ACME_CRM_SECRET": "c2VjcmV0"})


def test_no_line_of_a_log_has_a_secret_whichever_library_writes_it(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "gh%ij@ klmn"
    before = logging.getLogger().handlers[:], sys.excepthook, threading.excepthook, sys.unraisablehook
    redaction.hide_secrets_of({"ADMIN_API_TOKEN": secret})
    try:
        configure_logs("test")
        log = structlog.get_logger()
        log.warning("failed", reason="postgres_unavailable", error=f"no {secret}", nested={"a": [secret]}, plain=3)
        logging.getLogger("a.library").error("cannot use %s", secret)
        try:
            raise ValueError(f"bad {secret}")  # noqa: TRY301  # its trace is what is looked at
        except ValueError:
            log.exception("crashed")
            logging.getLogger("a.library").exception("crashed")
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]  # there is one
    finally:
        logging.getLogger().handlers[:], sys.excepthook, threading.excepthook, sys.unraisablehook = before
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
    shown = capsys.readouterr().err
    assert shown.count(HIDDEN) >= 6
    assert not [form for form in (secret, "gh%ij", "klmn") if form in shown]
    first = json.loads(shown.splitlines()[0])
    assert (first["event"], first["reason"], first["plain"]) == ("failed", "postgres_unavailable", 3)


def test_a_password_that_is_an_ordinary_word_changes_no_reason() -> None:
    redaction.hide_secrets_of({"DATABASE_URL": "postgresql://postgres:postgres@db/x"})
    assert redacted("FATAL: user postgres") == f"FATAL: user {HIDDEN}"
    event = {"event": "postgres_unavailable", "reason": "postgres_unavailable", "process": "relay"}
    from runtime.logs import _redact  # noqa: PLC0415  the one step of interest

    assert _redact(None, "", dict(event)) == event


@pytest.mark.parametrize("before", range(480, 505))
def test_a_secret_at_the_end_of_an_excerpt_is_not_cut_in_two(before: int) -> None:
    redaction.hide_secrets_of({"ADMIN_API_TOKEN": "opensesame-opensesame"})
    assert "open" not in excerpt_of("x" * before + "opensesame-opensesame" + "y" * 100)
    assert "open" not in described(ValueError("x" * before + "opensesame-opensesame"))
