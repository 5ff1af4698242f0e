"""The sizes of a run: those of README.md, or a share of them for trying things out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Rounds a figure, and the share of counts and times that a round takes."""

    rounds: int = 3
    share: float = 1.0
    with_peer: bool = True

    def count(self, whole: int) -> int:
        return max(1, round(whole * self.share))

    def seconds(self, whole: float) -> float:
        """At least two: pgbench and wrk count whole seconds."""
        return max(2.0, round(whole * self.share))
