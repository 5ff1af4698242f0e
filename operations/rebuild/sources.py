"""
The sources of projections: the events that made each, the code that makes it again, and its parts, compared with the live rows.

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

from streams.role import Handler

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


@dataclass(frozen=True)
class Events:
    """
    Events that a handler makes tables of, in a schema without a way out.

    `wanted` is SQL that selects the ids of all that have had their effects, each with a rank: those of a lower rank are handled
    first, and within one the order is that of the ids. Where it reads the whole log, {since} bounds what may be new. What the log
    no longer has is looked for in `topics`, one after the other; where `erased_too`, Kafka's copy of an event that was erased may
    be handled: the tables keep nothing of what was to be erased.
    """

    handler: Handler
    wanted: str
    topics: Sequence[str]
    erased_too: bool = False


@dataclass(frozen=True)
class Source:
    """
    Tables that are made together, and swapped in together.

    `tables` are copied into the schema; `seed` statements add the values that no event has. They run at each catch-up
    before the events are handled; `finish` statements run after them. The tables of `locks` are locked in this order before the
    last comparison; `exclusive` locks out readers too. The tables of `needs` must exist. `not_in_log` is shown to operators: the
    values of these rows that no event has.
    """

    name: str
    tables: Sequence[str]
    parts: Sequence[Part]
    locks: Sequence[str]
    events: Events | None = None
    seed: Sequence[str] = ()
    finish: Sequence[str] = ()
    exclusive: bool = False
    needs: Sequence[str] = ()
    not_in_log: str = ""
