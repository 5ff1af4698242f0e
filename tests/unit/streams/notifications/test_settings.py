"""A mail server that could send no mail is refused by the setting, and not only when the worker starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from runtime.redaction import hide_secrets_of
from runtime.secret_files import Environ
from runtime.secret_watch import SecretWatch
from runtime.settings import SettingsError
from streams.notifications.senders import check_url, sender_of
from streams.notifications.settings import NotificationSettings
from tests.mounts import Mount

if TYPE_CHECKING:
    from pathlib import Path

GOOD: Final = "mailto://mail.example.com:25?from=shop@example.com"
NEEDED: Final = {"DATABASE_URL": "postgresql://me@db/x", "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}
NO_AUTHOR: Final = [
    "mailto://mail.example.com:25?from=jürgen+shop@example.com",
    "mailto://mail.example.com:25?from=..a+x@example.com",
    "mailto://mail.example.com:25?from=a@b.de&name=A%0AB",
    "mailto://mail.example.com:25?from=a@b.de&name=A%0DB",
    "mailto://mail.example.com:25?from=a@b.de&smtp=ü..x",
]


@pytest.mark.parametrize("url", NO_AUTHOR)
def test_an_address_by_which_no_mail_could_leave_is_refused_in_one_line_without_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        NotificationSettings.load(NEEDED | {"NOTIFY_EMAIL_URL": url})
    (problem,) = caught.value.problems
    assert problem.startswith(("NOTIFY_EMAIL_URL: its ", "NOTIFY_EMAIL_URL: names no mail server"))
    assert not any(part in problem for part in ("jürgen", "..a", "..x", "\n", "\r"))


@pytest.mark.parametrize(
    "url",
    [
        GOOD,
        "mailto://mail.example.com:25?from=a@b.de&name=Jürgen",
        "mailto://mail.example.com:25?from=Shop<a@b.de>",
        "mailto://u:p@mail.example.com:25",
        "mailto://u:p@192.168.1.5:25",
        "mailto://mail.example.com",
        "mailtos://u:p@mail.example.com?from=a%2Bb@example.com",
        "mailto://[::1]:25?from=a@b.de",
    ],
)
def test_an_accepted_address_makes_a_sender(url: str) -> None:
    sender_of(check_url(url), seconds=1, threads=1).close()


def test_a_new_file_by_which_no_mail_could_leave_is_refused_whole(tmp_path: Path) -> None:
    mount = Mount(tmp_path, NOTIFY_EMAIL_URL=GOOD)
    environ = Environ(NEEDED | {"SECRETS_DIR": str(tmp_path)})
    settings = NotificationSettings.load(environ)
    followed = list[str]()
    settings.on_change(lambda newest: followed.append(newest.notify_email_url))
    watch = SecretWatch((settings,), environ, lambda _: None)
    for url in NO_AUTHOR:
        mount.swap(NOTIFY_EMAIL_URL=url)
        watch.look()
        assert [(change.setting, change.outcome) for change in watch.look()] == [("NOTIFY_EMAIL_URL", "refused")]
    assert (settings.newest.notify_email_url, followed) == (GOOD, [])
    hide_secrets_of({})
