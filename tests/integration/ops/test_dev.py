"""The `./dev` command from outside."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.__main__ import Name

CHECKOUT = Path(__file__).resolve().parents[3]
COMMANDS = ("up", "down", "status", "env", "demo", "test", "check", "bench")


def dev(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ops.dev", *map(str, arguments)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_a_python_that_is_too_old_is_reported_in_one_line(tmp_path: Path) -> None:
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3").chmod(0o755)
    ended = subprocess.run([CHECKOUT / "dev", "status"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("dev: needs Python 3.11 or newer")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    ended = dev(*command, "--help")
    assert ended.returncode == 0
    assert "Usage: ./dev" in ended.stdout


def test_status_without_a_stack_has_the_same_keys_and_a_failing_exit_code(tmp_path: Path) -> None:
    ended = dev("status", "--json", "--data-dir", tmp_path)
    assert ended.returncode == 1
    assert msgspec.json.decode(ended.stdout).keys() >= {
        "public", "internal", "kafka", "postgres", "redis", "elasticsearch", "mail", "processes",
    }  # fmt: skip


def test_bench_without_a_name_lists_the_names_with_a_line_each() -> None:
    ended = dev("bench")
    lines = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines())
    assert ended.returncode == 0
    assert lines.keys() == {*Name, "all", "capacity"}
    assert all(len(text) > 20 for text in lines.values())


def test_a_benchmark_that_is_not_there_is_refused_with_those_that_are() -> None:
    ended = dev("bench", "relays")
    assert ended.returncode == 2
    assert "there is no benchmark" in ended.stderr


def test_down_without_a_stack_is_no_error(tmp_path: Path) -> None:
    ended = dev("down", "--data-dir", tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "nothing runs\n")
