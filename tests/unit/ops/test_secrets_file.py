"""The `.env` that a first `up` writes."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from dotenv import dotenv_values

from ops.dev.secrets_file import NEEDED, ensure_secrets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDED:
        monkeypatch.delenv(name, raising=False)


def test_a_checkout_without_secrets_gets_all_of_them_for_its_owner_alone(tmp_path: Path) -> None:
    assert ensure_secrets(tmp_path) == list(NEEDED)
    values = dotenv_values(tmp_path / ".env")
    assert all(values[name] for name in NEEDED)
    assert len(set(values.values())) == len(NEEDED)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_a_file_that_others_could_read_is_its_owners_alone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDED:
        monkeypatch.setenv(name, "from outside")
    (tmp_path / ".env").write_text("STRIPE_API_KEY=rk_live_1")
    (tmp_path / ".env").chmod(0o644)
    ensure_secrets(tmp_path)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    ensure_secrets(tmp_path)
    before = (tmp_path / ".env").read_text()
    assert ensure_secrets(tmp_path) == []
    assert (tmp_path / ".env").read_text() == before


def test_existing_lines_stay_even_without_a_last_newline(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("INTERNAL_API_TOKEN=mine\nRETENTION_DAYS=3")
    ensure_secrets(tmp_path)
    values = dotenv_values(tmp_path / ".env")
    assert (values["INTERNAL_API_TOKEN"], values["RETENTION_DAYS"]) == ("mine", "3")
    assert values["ADMIN_API_TOKEN"]


def test_secrets_of_the_environment_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDED:
        monkeypatch.setenv(name, "from outside")
    assert ensure_secrets(tmp_path) == []
    assert not (tmp_path / ".env").exists()
