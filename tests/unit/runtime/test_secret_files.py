"""Every secret setting may come from a file, as Docker and Kubernetes mount them; all faults are reported at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from runtime.redaction import redacted
from runtime.secret_files import Environ
from runtime.settings import Secrets, ServerUrl, Settings, SettingsError, environment
from schemas.partners import PartnerSettings
from tests.mounts import Mount

if TYPE_CHECKING:
    from pathlib import Path


class Example(Settings):
    """A secret and an address."""

    database_url: ServerUrl
    admin_api_token: Secrets
    pause: int = 1


ADDRESS: Final = "postgresql://me:hunter2@db/x"


def problems_of(given: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Example.load(Environ(given))
    return caught.value.problems


def test_a_secret_comes_from_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("new, old\n")
    found = Example.load(Environ({"DATABASE_URL": ADDRESS, "ADMIN_API_TOKEN_FILE": str(tmp_path / "token")}))
    assert [secret.value for secret in found.admin_api_token] == ["new", "old"]


def test_a_folder_holds_a_file_for_each_name_and_links_are_followed(tmp_path: Path) -> None:
    mount = Mount(tmp_path, DATABASE_URL=f"{ADDRESS}\r\n", ADMIN_API_TOKEN="first")
    given = {"SECRETS_DIR": str(tmp_path)}
    assert Example.load(Environ(given)).database_url == ADDRESS
    mount.swap(DATABASE_URL=ADDRESS, ADMIN_API_TOKEN="second")
    assert [secret.value for secret in Example.load(Environ(given)).admin_api_token] == ["second"]


def test_secrets_of_a_partner_may_be_in_files_too(tmp_path: Path) -> None:
    (tmp_path / "PARTNER_ACME_SECRET").write_text("signs")
    (tmp_path / "token").write_text("proves")
    environ = Environ({"SECRETS_DIR": str(tmp_path), "PARTNER_ACME_TOKEN_FILE": str(tmp_path / "token")})
    acme = PartnerSettings.load(environ).partners["ACME"]
    assert (acme.secret[0].value, acme.token[0].value) == ("signs", "proves")


def test_every_fault_is_reported_at_once_and_no_text_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "two").write_text("hunter2\nhunter3")
    given = {
        "DATABASE_URL": ADDRESS,
        "DATABASE_URL_FILE": str(tmp_path / "two"),
        "ADMIN_API_TOKEN_FILE": str(tmp_path / "absent"),
        "PAUSE": "long",
    }
    found = problems_of(given)
    assert found == [
        f"DATABASE_URL: is set, and the file {tmp_path / 'two'} holds it too: one of them has to go",
        f"ADMIN_API_TOKEN: its file {tmp_path / 'absent'} cannot be read: No such file or directory",
        "PAUSE: a whole number is expected",
    ]
    assert "hunter" not in str(found)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"one\ntwo", "has more than one line, or a NUL character"),
        (b"one\0", "has more than one line, or a NUL character"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * 65_537, "is larger than 65,536 bytes"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, raw: bytes, fault: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(raw)
    given = {"DATABASE_URL": ADDRESS, "ADMIN_API_TOKEN_FILE": str(path)}
    assert problems_of(given) == [f"ADMIN_API_TOKEN: its file {path} {fault}"]


def test_two_files_of_one_setting_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ADMIN_API_TOKEN").write_text("one")
    given = {"DATABASE_URL": ADDRESS, "SECRETS_DIR": str(tmp_path), "ADMIN_API_TOKEN_FILE": str(tmp_path / "ADMIN_API_TOKEN")}
    fault = "ADMIN_API_TOKEN: has two files, of ADMIN_API_TOKEN_FILE and of SECRETS_DIR: one of them has to go"
    assert problems_of(given) == [fault]


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "absent"
    found = problems_of({"DATABASE_URL": ADDRESS, "ADMIN_API_TOKEN": "one", "SECRETS_DIR": str(folder)})
    assert found == [f"SECRETS_DIR: {folder} cannot be read: No such file or directory"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert Environ({"SECRETS_DIR": str(tmp_path)}).files.faults == {"SECRETS_DIR": f"{tmp_path} is empty"}


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    given = {"DATABASE_URL": ADDRESS, "ADMIN_API_TOKEN_FILE": str(tmp_path)}
    assert problems_of(given) == [f"ADMIN_API_TOKEN: its file {tmp_path} cannot be read: Is a directory"]


def test_a_pipe_without_a_writer_does_not_block_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert problems_of({"DATABASE_URL": ADDRESS, "ADMIN_API_TOKEN_FILE": str(tmp_path / "pipe")}) == [
        f"ADMIN_API_TOKEN: its file {tmp_path / 'pipe'} is empty"
    ]


def test_the_files_of_others_do_not_matter(tmp_path: Path) -> None:
    given = {"DATABASE_URL": ADDRESS, "ADMIN_API_TOKEN": "one", "OTHERS_PASSWORD_FILE": str(tmp_path / "absent")}
    assert Example.load(Environ(given)).pause == 1


def test_a_secret_from_a_file_is_known_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("correct-horse-battery\n")
    monkeypatch.setenv("ADMIN_API_TOKEN_FILE", str(tmp_path / "token"))
    environment(tmp_path)
    assert redacted("refused: correct-horse-battery") == "refused: ***"
