"""Long logs are rotated while their writers keep them open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.dev.up import bound_logs

if TYPE_CHECKING:
    from pathlib import Path


def test_a_long_log_is_rotated_and_its_writer_continues(tmp_path: Path) -> None:
    (tmp_path / "short.log").write_bytes(b"x" * 10)
    with (tmp_path / "long.log").open("ab", buffering=0) as writer:
        writer.write(b"old" * 10)
        assert bound_logs(tmp_path, limit=10) == ["long.log"]
        writer.write(b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "short.log": b"x" * 10,
        "long.log": b"new",
        "long.log.1": b"old" * 10,
    }
