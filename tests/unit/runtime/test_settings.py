"""Settings are whole or refused with every problem at once, and no secret is ever shown."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from runtime.heartbeat import HUNG_AFTER
from runtime.setting_faults import fault_of
from runtime.settings import (
    Duration,
    Networks,
    Poll,
    Port,
    Secret,
    Secrets,
    ServerUrl,
    Settings,
    SettingsError,
    environment,
    parse_duration,
)

if TYPE_CHECKING:
    from pathlib import Path


class Example(Settings):
    """One of each kind."""

    address: ServerUrl
    token: Secrets
    pause: Duration = timedelta(seconds=1)
    port: Port = 80
    word: str = ""


GOOD: Final = {"ADDRESS": "postgresql://me:hunter2@db/x", "TOKEN": "new-secret, old-secret"}


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("45", timedelta(seconds=45)),
        ("0.5", timedelta(milliseconds=500)),
        ("1.5m", timedelta(seconds=90)),
        (" 10s ", timedelta(seconds=10)),
        ("0", timedelta()),
    ],
)
def test_a_duration_is_a_number_with_a_unit_or_plain_seconds(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


def test_a_network_of_ipv4_may_be_written_as_one_of_ipv6() -> None:
    """Addresses of a socket for both are written so."""
    written = "::ffff:10.0.0.0/104, ::ffff:192.0.2.1, ::ffff:0:0/96, ::/0, fd00::1, 10.1.2.3/8"
    found = TypeAdapter[Any](Networks).validate_python(written)
    assert [str(network) for network in found] == ["10.0.0.0/8", "192.0.2.1/32", "0.0.0.0/0", "::/0", "fd00::1/128", "10.0.0.0/8"]


_NO_DURATIONS: Final = (
    *("", "s", "5 m", "-5s", "5w", "1h30m", "five", "1e3", "5S", ".5s", "9" * 400, "9" * 20 + "d"),
    *("nan", "inf", "1_000", "\uff11\uff10s", "\u0663"),
)


@pytest.mark.parametrize("text", _NO_DURATIONS)
def test_a_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "0s", "0.4ms", "31d", "999999999999s"])
def test_a_duration_that_would_let_a_loop_spin_or_never_wake_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Example.load(GOOD | {"PAUSE": text})
    assert [problem.startswith("PAUSE: ") and "from 1ms to 30d" in problem for problem in caught.value.problems] == [True]


def test_a_value_that_is_no_text_is_left_unchanged() -> None:
    assert parse_duration(timedelta(seconds=3)) == timedelta(seconds=3)


def test_settings_are_read_by_the_upper_case_name_of_the_field() -> None:
    settings = Example.load(GOOD | {"PAUSE": "2m", "PORT": "8080", "UNRELATED": "1"})
    assert settings.address == GOOD["ADDRESS"]
    assert settings.token == (Secret("new-secret"), Secret("old-secret"))
    assert (settings.pause, settings.port) == (timedelta(minutes=2), 8080)


def test_an_empty_value_is_no_value() -> None:
    assert Example.load(GOOD | {"PORT": ""}).port == 80


def test_every_problem_is_reported_at_once_without_any_value() -> None:
    with pytest.raises(SettingsError) as caught:
        Example.load({"ADDRESS": "hunter2", "PAUSE": "hunter2", "PORT": "70000"})
    assert caught.value.reason == "settings_invalid"
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["ADDRESS", "TOKEN", "PAUSE", "PORT"]
    assert caught.value.problems[1] == "TOKEN: is required"
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "text"),
    [("TOKEN", "hunter2\udcff"), ("ADDRESS", "http://h/hunter2\udcff"), ("PORT", "\udcff"), ("WORD", "hunter2\ud800")],
)
def test_bytes_of_the_environment_that_are_not_utf8_are_refused_without_showing_them(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Example.load(GOOD | {name: text})
    assert caught.value.problems == [f"{name}: is not UTF-8"]


@pytest.mark.parametrize("show", [repr, str, "{0}".format], ids=["repr", "str", "format"])
def test_nothing_that_settings_print_has_a_secret(show: object) -> None:
    settings = Example.load(GOOD)
    for shown in (show(settings), show(settings.token), show(settings.token[0])):  # type: ignore[operator]
        assert not any(secret in shown for secret in ("new-secret", "old-secret", "hunter2"))


def test_a_secret_is_known_by_the_first_8_hex_digits_of_its_sha256() -> None:
    assert Secret("abc").id == "ba7816bf"
    assert repr(Secret("abc")) == "Secret(ba7816bf)"


def test_secrets_are_equal_by_value() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Example.load(GOOD).port = 1


def test_the_process_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("FROM_FILE=file\nFROM_BOTH=file\nWITHOUT_VALUE\n")
    monkeypatch.setenv("FROM_BOTH", "process")
    found = environment(tmp_path)
    assert (found["FROM_FILE"], found["FROM_BOTH"]) == ("file", "process")
    assert "WITHOUT_VALUE" not in found


def test_there_may_be_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_PROCESS", "process")
    assert environment(tmp_path)["FROM_PROCESS"] == "process"


def test_no_loop_may_look_so_seldom_that_it_counts_as_hung() -> None:
    looks = TypeAdapter(Poll)
    assert looks.validate_python("30s") < HUNG_AFTER
    with pytest.raises(ValidationError, match="a duration from 1ms to 30s is expected"):
        looks.validate_python("31s")


@pytest.mark.parametrize(
    ("text", "good"), [("5", True), ("0.5", True), (".5", True), ("5.", False), ("1e0", False), ("1_0.5", False)]
)
def test_a_number_with_a_fraction_may_begin_with_its_point(text: str, good: bool) -> None:  # of a table
    assert (fault_of(text, FieldInfo(annotation=float)) is None) is good
