"""A changed secret is in force once two reads of its file agree; an invalid one is refused and reported."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

import pytest
from prometheus_client import REGISTRY

from gateway.settings import Tokens  # noqa: TC001  # pydantic reads it
from runtime import renewal
from runtime.redaction import hide_secrets_of, redacted
from runtime.secret_files import Environ
from runtime.secret_watch import Change, SecretWatch, ids_of
from runtime.settings import DatabaseUrl  # noqa: TC001  # likewise
from schemas.partners import PartnerSettings
from tests.mounts import Mount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Example(PartnerSettings):
    """Secrets of each kind."""

    database_url: DatabaseUrl = "postgresql://nobody@nowhere/none"
    admin_api_token: Tokens


FIRST: Final = {"ADMIN_API_TOKEN": "first-token", "DATABASE_URL": "postgresql://me:first@db/x"}


class Watched:
    """The settings of a mount, and their watch."""

    def __init__(self, folder: Path, **secrets: str) -> None:
        self.mount = Mount(folder, **FIRST | secrets)
        environ = Environ({"SECRETS_DIR": str(folder)})
        self.settings = Example.load(environ)
        self.changes = list[Change]()
        self.watch = SecretWatch((self.settings,), environ, self.changes.extend)

    def look(self) -> list[tuple[str, str]]:
        """Read twice: a change counts once it is stable."""
        assert self.watch.look() == []
        return [(change.setting, change.outcome) for change in self.watch.look()]

    @property
    def token(self) -> str:
        return self.settings.newest.admin_api_token[0].value


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    yield Watched(tmp_path)
    hide_secrets_of({})


def value_of(metric: str) -> float:
    return REGISTRY.get_sample_value(metric, {"setting": "ADMIN_API_TOKEN", "outcome": "refused"}) or 0.0


def test_an_unchanged_file_is_no_change(watched: Watched) -> None:
    assert (watched.look(), watched.look()) == ([], [])
    assert watched.settings.newest is watched.settings


def test_a_swapped_secret_is_in_force_and_followers_have_it(watched: Watched) -> None:
    seen = list[str]()
    watched.settings.on_change(lambda newest: seen.append(newest.admin_api_token[0].value))
    watched.mount.swap(**FIRST | {"ADMIN_API_TOKEN": "second-token,first-token"})
    assert watched.look() == [("ADMIN_API_TOKEN", "taken")]
    assert (watched.token, seen) == ("second-token", ["second-token"])
    assert watched.look() == []


def test_a_follower_of_one_field_gets_no_other(watched: Watched) -> None:
    seen = list[str]()
    watched.settings.on_change(lambda newest: seen.append(newest.database_url), "database_url")
    watched.mount.swap(**FIRST | {"ADMIN_API_TOKEN": "second-token"})
    assert (watched.look(), seen) == ([("ADMIN_API_TOKEN", "taken")], [])
    other = "postgresql://me:second@db/x"
    watched.mount.swap(ADMIN_API_TOKEN="second-token", DATABASE_URL=other)
    assert (watched.look(), seen) == ([("DATABASE_URL", "taken")], [other])


def test_a_later_follower_gets_at_once_what_has_changed_since_the_start(watched: Watched) -> None:
    seen = list[str]()
    watched.mount.swap(**FIRST | {"ADMIN_API_TOKEN": "second-token"})
    watched.look()
    watched.settings.on_change(lambda newest: seen.append(newest.admin_api_token[0].value), "admin_api_token")
    watched.settings.on_change(lambda newest: seen.append(newest.database_url), "database_url")
    assert seen == ["second-token"]


def test_a_follower_that_fails_is_tried_again_and_keeps_no_other_from_the_change(watched: Watched) -> None:
    broken, seen = [ConnectionError(), ConnectionError()], list[str]()

    def fail(_: Example) -> None:
        seen.append("tried")
        if broken:
            raise broken.pop()

    watched.settings.on_change(fail)
    watched.settings.on_change(lambda newest: seen.append(newest.admin_api_token[0].value))
    watched.mount.swap(**FIRST | {"ADMIN_API_TOKEN": "second-token"})
    assert watched.watch.look() == []
    for _ in range(2):
        with pytest.raises(ConnectionError):
            watched.watch.look()
    assert (seen, watched.token) == (["tried", "second-token", "tried"], "second-token")
    assert [(change.setting, change.outcome) for change in watched.watch.look()] == [("ADMIN_API_TOKEN", "taken")]
    assert watched.watch.look() == []
    assert seen == ["tried", "second-token", "tried", "tried"]


def look_with_a_failing_follower(watched: Watched) -> None:
    assert watched.watch.look() == []
    with pytest.raises(ConnectionError):
        watched.watch.look()


def test_changes_are_in_force_one_after_another_while_a_follower_goes_on_failing(watched: Watched) -> None:
    addresses = [FIRST["DATABASE_URL"], *(f"postgresql://me:{name}@db/failing" for name in ("second", "third"))]
    broken = True

    def fail(_: Example) -> None:
        if broken:
            raise ConnectionError

    watched.settings.on_change(fail)
    for address in addresses[1:]:
        watched.mount.swap(**FIRST | {"DATABASE_URL": address})
        look_with_a_failing_follower(watched)
        with pytest.raises(ConnectionError):
            watched.watch.look()
    assert [renewal.logins(address) for address in addresses] == [(addresses[2], addresses[1])] * 3
    watched.mount.swap(**FIRST)
    look_with_a_failing_follower(watched)
    assert watched.settings.newest.database_url == addresses[0]
    assert [renewal.logins(address) for address in addresses] == [(addresses[0], addresses[2])] * 3
    broken = False
    assert [(change.setting, change.outcome) for change in watched.watch.look()] == [("DATABASE_URL", "taken")]
    assert watched.look() == []


@pytest.mark.parametrize("meanwhile", ["away", "invalid"])
def test_a_follower_that_failed_is_tried_again_after_its_file_was_no_good_for_a_while(
    meanwhile: str, watched: Watched, tmp_path: Path
) -> None:
    second, seen, broken = FIRST | {"ADMIN_API_TOKEN": "second-token"}, list[str](), True

    def fail(newest: Example) -> None:
        if broken:
            raise ConnectionError
        seen.append(newest.admin_api_token[0].value)

    watched.settings.on_change(fail, "admin_api_token")
    watched.mount.swap(**second)
    look_with_a_failing_follower(watched)
    if meanwhile == "away":
        tmp_path.rename(tmp_path.with_name("elsewhere"))
        assert watched.look() == [("SECRETS_DIR", "refused")]
        assert watched.watch.look() == []
        tmp_path.with_name("elsewhere").rename(tmp_path)
    else:
        watched.mount.swap(**FIRST | {"ADMIN_API_TOKEN": "changeme"})
        assert watched.look() == [("ADMIN_API_TOKEN", "refused")]
        assert watched.watch.look() == []
        watched.mount.swap(**second)
    broken = False
    assert ("ADMIN_API_TOKEN", "taken") in watched.look()
    assert seen == ["second-token"]
    assert watched.watch.look() == []


def test_the_settings_of_one_part_are_renewed_although_a_follower_of_another_fails(tmp_path: Path) -> None:
    one, environ = Watched(tmp_path), Environ({"SECRETS_DIR": str(tmp_path)})
    other = Example.load(environ)
    watch = SecretWatch((one.settings, other), environ, one.changes.extend)

    def fail(_: Example) -> None:
        raise ConnectionError

    for settings in (one.settings, other):
        settings.on_change(fail)
    one.mount.swap(**FIRST | {"ADMIN_API_TOKEN": "second-token"})
    watch.look()
    with pytest.raises(ConnectionError):
        watch.look()
    assert {each.newest.admin_api_token[0].value for each in (one.settings, other)} == {"second-token"}
    hide_secrets_of({})


def test_a_file_that_is_still_being_written_is_not_taken(watched: Watched) -> None:
    for text in ("sec", "second", "second-token"):
        watched.mount.swap(**FIRST | {"ADMIN_API_TOKEN": text})
        assert watched.watch.look() == []
    assert watched.token == "first-token"
    assert [change.ids for change in watched.watch.look()] == [ids_of("second-token")]
    assert watched.token == "second-token"


def test_a_change_is_in_force_after_two_pauses_of_a_second(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = list[float]()

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 1:
            watched.mount.swap(**FIRST | {"ADMIN_API_TOKEN": "second-token"})
        return watched.token == "second-token" or len(pauses) > 9

    monkeypatch.setattr(watched.watch, "_stopping", SimpleNamespace(wait=pause))
    watched.watch._run()
    assert pauses == [1.0, 1.0, 1.0], "the third one comes after it is in force"
    assert [change.setting for change in watched.watch._unreported] == ["ADMIN_API_TOKEN"]


@pytest.mark.parametrize("text", ["", "whsec_of-another-kind", "changeme", "two words", "one\ntwo"])
def test_an_invalid_value_is_refused_once_and_the_old_one_stays(watched: Watched, text: str) -> None:
    before = value_of("tallyhook_secret_changes_total")
    watched.mount.swap(**FIRST | {"ADMIN_API_TOKEN": text})
    assert watched.look() == [("ADMIN_API_TOKEN", "refused")]
    assert watched.look() == []
    assert watched.token == "first-token"
    assert (value_of("tallyhook_secret_changes_total"), REGISTRY.get_sample_value("tallyhook_secrets_refused")) == (before + 1, 1)
    watched.mount.swap(**FIRST)
    assert watched.look() == [("ADMIN_API_TOKEN", "taken")]
    assert REGISTRY.get_sample_value("tallyhook_secrets_refused") == 0


def test_the_reason_names_the_setting_and_quotes_nothing(watched: Watched) -> None:
    watched.mount.swap(**FIRST | {"ADMIN_API_TOKEN": "hunter2 hunter3"})
    watched.watch.look()
    (change,) = watched.watch.look()
    assert change.why.startswith("ADMIN_API_TOKEN: has a space")
    assert "hunter" not in str(change)


def test_one_that_makes_no_sense_does_not_hold_up_the_others(watched: Watched) -> None:
    watched.mount.swap(ADMIN_API_TOKEN="changeme", DATABASE_URL="postgresql://me:second@db/x")
    assert sorted(watched.look()) == [("ADMIN_API_TOKEN", "refused"), ("DATABASE_URL", "taken")]
    assert watched.settings.newest.database_url == "postgresql://me:second@db/x"


def test_settings_that_need_each_other_are_taken_together(watched: Watched) -> None:
    crm = {"PARTNER_ACME_CRM_URL": "https://crm.example/leads", "PARTNER_ACME_CRM_SECRET": "whsec_c2VjcmV0"}
    watched.mount.swap(**FIRST | crm)
    assert sorted(watched.look()) == sorted((name, "taken") for name in crm)
    assert watched.settings.newest.partners["ACME"].crm_url == "https://crm.example/leads"


def test_those_that_need_each_other_are_taken_beside_one_that_makes_no_sense(watched: Watched) -> None:
    crm = {"PARTNER_ACME_CRM_URL": "https://crm.example/leads", "PARTNER_ACME_CRM_SECRET": "whsec_c2VjcmV0"}
    watched.mount.swap(**FIRST | crm | {"ADMIN_API_TOKEN": "changeme"})
    assert sorted(watched.look()) == sorted([("ADMIN_API_TOKEN", "refused"), *((name, "taken") for name in crm)])
    assert watched.settings.newest.partners["ACME"].crm_url == "https://crm.example/leads"


def test_a_login_is_renewed_whatever_white_space_its_file_has() -> None:
    renewal.renew(" before ", "after ")
    assert [renewal.newest(text) for text in ("before", " before ", "after")] == ["after"] * 3
    assert renewal.logins("before") == ("after", "before")


def test_a_file_that_is_gone_takes_its_secret_with_it_where_none_is_needed(tmp_path: Path) -> None:
    watched = Watched(tmp_path, PARTNER_ACME_TOKEN="proves-acme")
    watched.mount.swap(DATABASE_URL=FIRST["DATABASE_URL"])
    assert sorted(watched.look()) == [("ADMIN_API_TOKEN", "refused"), ("PARTNER_ACME_TOKEN", "taken")]
    assert watched.settings.newest.partners == {}
    assert watched.token == "first-token"
    watched.mount.swap(**FIRST | {"PARTNER_ACME_TOKEN": "proves-acme"})
    assert sorted(watched.look()) == [("ADMIN_API_TOKEN", "taken"), ("PARTNER_ACME_TOKEN", "taken")]


def test_a_folder_that_is_away_changes_nothing(watched: Watched, tmp_path: Path) -> None:
    tmp_path.rename(tmp_path.with_name("away"))
    assert watched.look() == [("SECRETS_DIR", "refused")]
    assert watched.token == "first-token"
    tmp_path.with_name("away").rename(tmp_path)
    assert watched.look() == [("SECRETS_DIR", "taken")]
    assert watched.look() == []


def test_a_folder_whose_volume_is_not_mounted_takes_no_secret_with_it(tmp_path: Path) -> None:
    folder, away = tmp_path / "secrets", tmp_path / "away"
    folder.mkdir()
    watched = Watched(folder, PARTNER_ACME_TOKEN="proves-acme")
    folder.rename(away)
    folder.mkdir()
    assert watched.look() == [("SECRETS_DIR", "refused")]
    assert watched.settings.newest.partners.keys() == {"ACME"}
    folder.rmdir()
    away.rename(folder)
    assert watched.look() == [("SECRETS_DIR", "taken")]


def test_settings_of_other_processes_are_not_reported(watched: Watched) -> None:
    watched.mount.swap(**FIRST | {"NOTIFY_SMS_URL": "json://sms.example"})
    assert watched.look() == []


def test_an_address_is_renewed_for_holders_of_an_older_one(watched: Watched) -> None:
    addresses = [FIRST["DATABASE_URL"], "postgresql://me:second@db/x", "postgresql://me:third@db/x"]
    for address in addresses[1:]:
        watched.mount.swap(**FIRST | {"DATABASE_URL": address})
        watched.look()
    assert [renewal.newest(address) for address in addresses] == [addresses[-1]] * 3
    assert renewal.logins(addresses[0]) == (addresses[2], addresses[1])
    watched.mount.swap(**FIRST)
    watched.look()
    assert [renewal.newest(address) for address in addresses] == [addresses[0]] * 3


def test_an_old_secret_and_a_new_one_are_both_kept_out_of_the_logs(watched: Watched) -> None:
    watched.mount.swap(**FIRST | {"ADMIN_API_TOKEN": "second-token"})
    watched.look()
    assert redacted("first-token and second-token") == "*** and ***"
