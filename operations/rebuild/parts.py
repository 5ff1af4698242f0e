"""
The parts of a projection, and the comparison of a live row with the one that the log makes.

Verdicts on a key whose rows are not the same:
  `missing`    the log makes a row that is not there: it comes back
  `behind`     the row knows fewer events than were handled: a worker made it after the loss; it is put right
  `different`  the row knows the same events and says something else: nothing here explains that
  `extra`      a row is there that no event makes, and none can have made
  `kept`       the log cannot judge the row: some of its events are not kept, or what it holds is in no log; it stays
  `lost`       a row is gone, and the log cannot make it whole: it cannot come back
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Table

EXPLAINED: Final = ("missing", "behind")
UNEXPLAINED: Final = ("different", "extra")
LEFT: Final = ("kept", "lost")


@dataclass(frozen=True)
class Part:
    """
    One table, or those rows of it for which `only` holds.

    `verdict` is SQL over `l` (the live row), `s` (the one that the log makes) and what `joins` adds; `compared` are the columns
    that the log can tell, all where it is None; `differs` is SQL for what else makes two rows differ, and `updated` are the
    columns that are put right. `unseen` selects verdicts and keys of rows that are on neither side. `json` is a
    column whose bytes are JSON: it is the same where the document is.
    """

    table: Table
    verdict: str
    joins: str = ""
    only: str = "true"
    compared: Sequence[str] | None = None
    differs: str = "false"
    updated: Sequence[str] | None = None
    unseen: str | None = None
    json: str | None = None

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def key(self) -> list[str]:
        return [column.name for column in self.table.primary_key]

    @property
    def columns(self) -> list[str]:
        """Those that can be written."""
        return [column.name for column in self.table.columns if column.computed is None]


@dataclass(frozen=True)
class Counted:
    """The comparison of a part: the numbers of live rows and of rows by the log, and the verdicts on those that differ."""

    part: Part
    live: int
    log: int
    verdicts: dict[str, int]
    samples: dict[str, list[str]]

    def number(self, *verdicts: str) -> int:
        return sum(self.verdicts.get(verdict, 0) for verdict in verdicts)
