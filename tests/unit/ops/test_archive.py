"""An archive of a server's classes: it is made once, and a start continues without it if it cannot be made."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

from ops.stack.archive import archive_in, kept_in
from ops.stack.errors import Reason, StackError

if TYPE_CHECKING:
    from pathlib import Path


def write(file: Path) -> None:
    file.write_text("classes")


def refuse(_: Path) -> None:
    raise StackError(Reason.SERVER_FAILED, "kafka ended with code 1")


def test_it_is_made_once_and_appears_as_a_whole(tmp_path: Path) -> None:
    seen: list[list[Path]] = []

    def train(file: Path) -> None:
        seen.append([*tmp_path.glob("*.aot")])
        write(file)

    first, second = (archive_in(tmp_path, train) for _ in range(2))
    assert seen == [[]]
    assert first is not None
    assert first == second
    assert first.read_text() == "classes"


def test_no_start_waits_while_another_makes_it(tmp_path: Path) -> None:
    with (tmp_path / ".storage-1.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert kept_in(tmp_path, "storage-1", write) is None
    assert kept_in(tmp_path, "storage-1", write)


def test_a_start_goes_on_without_it_where_it_cannot_be_made_and_the_next_one_tries_again(tmp_path: Path) -> None:
    assert archive_in(tmp_path, refuse) is None
    assert archive_in(tmp_path / "gone", write) is None
    assert archive_in(tmp_path, write)


def test_a_folder_is_kept_as_well(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        folder.mkdir()
        write(folder / "file")

    kept = kept_in(tmp_path, "storage-1", make)
    assert kept == tmp_path / "storage-1"
    assert kept_in(tmp_path, "storage-1", refuse) == kept
    assert (kept / "file").read_text() == "classes"
