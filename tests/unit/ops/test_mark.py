"""Variables that `./dev env` set are recognized in the same shell, in another checkout, and once the stack is gone."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from ops.dev import mark
from ops.dev.processes import TALLYHOOK
from ops.dev.shell import exports
from ops.stack.child import Identity
from ops.stack.errors import StackError
from ops.stack.state import StateFile
from runtime.settings import environment

if TYPE_CHECKING:
    from pathlib import Path


class Clone:
    """A checkout whose stack runs according to its files."""

    def __init__(self, folder: Path, **env_file: str) -> None:
        folder.mkdir()
        self.folder, self.data_dir = folder, folder / "data"
        self.env_file(**{"ADMIN_API_TOKEN": f"token-of-{folder.name}"} | env_file)
        self.run(DATABASE_URL=f"postgresql://{folder.name}:5432/x", PUBLIC_HOST="127.0.0.1", PUBLIC_PORT="8080")

    def env_file(self, **values: str) -> None:
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def run(self, **addresses: str) -> None:
        StateFile(self.data_dir).change(phase="ready", supervisor=Identity.of(os.getpid()), environment=addresses)

    def stop(self) -> None:
        StateFile(self.data_dir).change(phase="down", supervisor=None)

    def eval(self, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        """Return the environment of a shell after `eval "$(./dev env)"`."""
        with monkeypatch.context() as shell:
            for name in {*os.environ} - {*environ}:
                shell.delenv(name)
            for name, value in environ.items():
                shell.setenv(name, value)
            earlier, _ = mark.leave(os.environ, self.folder)
            lines = exports(self.folder, self.data_dir, earlier)
        done = subprocess.run(["bash", "-c", f"{lines}\nenv -0"], env=environ, capture_output=True, text=True, check=True)  # noqa: S607
        return dict(pair.split("=", 1) for pair in done.stdout.split("\0") if "=" in pair)


@pytest.fixture
def fresh() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nowhere"}


@pytest.fixture
def one(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "one", ONLY_ONE="1")


@pytest.fixture
def other(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "other")


def left(environ: dict[str, str], clone: Clone) -> tuple[dict[str, str], str | None]:
    environ = dict(environ)
    _, fault = mark.leave(environ, clone.folder)
    return environ, fault


def test_marked_values_are_left_out_and_values_of_the_user_stay(
    one: Clone, fresh: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = one.eval(fresh | {"REDIS_URL": "redis://mine"}, monkeypatch)
    assert shell["DATABASE_URL"] == "postgresql://one:5432/x"
    shell["PUBLIC_PORT"] = "9090"  # by the user, afterwards
    environ, fault = left(shell, one)
    assert fault is None
    assert (environ["REDIS_URL"], environ["PUBLIC_PORT"]) == ("redis://mine", "9090")
    assert not {"DATABASE_URL", "ADMIN_API_TOKEN", "ADMIN_TOKEN", "PUBLIC_HOST", mark.NAME} & {*environ}


def test_after_a_stop_the_next_start_sees_no_address_of_the_stack_that_is_gone(
    one: Clone, fresh: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = one.eval(fresh, monkeypatch)
    one.stop()
    environ, fault = left(shell, one)
    assert fault
    assert "no longer runs" in fault
    assert "DATABASE_URL" not in environ
    with pytest.raises(StackError, match=r"eval \"\$\(\./dev env\)\""):
        mark.check(shell, one.folder)


def test_a_stack_that_came_back_as_it_was_is_right_and_one_with_other_addresses_is_not(
    one: Clone, fresh: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = one.eval(fresh, monkeypatch)
    one.stop()
    one.run(DATABASE_URL="postgresql://one:5432/x", PUBLIC_HOST="127.0.0.1", PUBLIC_PORT="8080")
    mark.check(shell, one.folder)
    mark.check(shell, one.folder.parent)  # anywhere that is no checkout
    one.run(DATABASE_URL="postgresql://one:5433/x")
    with pytest.raises(StackError, match="changed since"):
        mark.check(shell, one.folder)


def test_a_file_that_has_changed_since_is_reported(one: Clone, fresh: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    shell = one.eval(fresh, monkeypatch)
    one.env_file(ADMIN_API_TOKEN="a-new-token")
    with pytest.raises(StackError, match="changed since"):
        mark.check(shell, one.folder)
    again = one.eval(shell, monkeypatch)
    assert again["ADMIN_TOKEN"] == "a-new-token"
    assert "ONLY_ONE" not in again
    mark.check(again, one.folder)


def test_two_checkouts_never_mix(one: Clone, other: Clone, fresh: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    shell = one.eval(fresh, monkeypatch)
    with pytest.raises(StackError, match="another checkout"):
        mark.check(shell, other.folder)
    environ, fault = left(shell, other)
    assert fault
    assert "another checkout" in fault
    for name in fresh:
        monkeypatch.setenv(name, environ[name])
    assert environment(other.folder)["ADMIN_API_TOKEN"] == "token-of-other"
    both = other.eval(shell, monkeypatch)
    assert (both["ADMIN_TOKEN"], both["DATABASE_URL"]) == ("token-of-other", "postgresql://other:5432/x")
    assert "ONLY_ONE" not in both
    mark.check(both, other.folder)


def test_a_data_directory_that_is_gone_is_a_stack_that_no_longer_runs(
    one: Clone, fresh: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = one.eval(fresh, monkeypatch)
    (one.data_dir / "state.json").unlink()
    ended = subprocess.run([TALLYHOOK, "check"], env=shell, cwd=one.folder, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no longer runs" in ended.stderr
    assert ended.stderr.count("\n") == 1
    helped = subprocess.run(
        [TALLYHOOK, "check", "--help"], env=shell, cwd=one.folder, capture_output=True, text=True, check=False
    )
    assert helped.returncode == 0


def test_no_secret_is_in_the_mark(one: Clone, fresh: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "token-of-one" not in one.eval(fresh, monkeypatch)[mark.NAME]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"checkout": 3}'])
def test_a_mark_that_cannot_be_read_counts_as_none(text: str, tmp_path: Path) -> None:
    environ = {mark.NAME: text, "A": "1"}
    mark.check(environ, tmp_path)
    assert mark.leave(environ, tmp_path) == (None, None)
    assert environ == {"A": "1"}
