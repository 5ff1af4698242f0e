"""
The sources of projections: the events behind each, the code that builds it again, and the tables that are compared.

Verdicts on a key whose live row differs from the row that the log makes:
  `missing`    the log makes a row that is not in the live table: it is restored
  `behind`     the live row includes fewer events than were handled, since a worker made it after the loss: it is corrected
  `different`  the live row includes the same events but has other values: this is unexplained
  `extra`      the live row exists, but no event makes it or can have made it: this is unexplained
  `kept`       the log cannot judge the row, since some of its events or its values are not in the log: it stays
  `lost`       the row is missing, and the log cannot make all of it: it cannot be restored
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

    `verdict` is SQL over `l` (the live row), `s` (the row that the log makes) and the tables of `joins`. `compared` are the
    columns that follow from the log (None for all), `differs` is an SQL condition under which two rows differ too, and
    `updated` are the columns that are corrected. `unseen` selects verdicts and keys of rows that exist on neither side. `json`
    is a column whose bytes are JSON: it is compared as a document.
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
        """The columns that can be written."""
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
    The events from which a handler builds tables, in a schema that is isolated from the live tables.

    `wanted` is SQL that selects the ids of all events that have had their effects, each with a rank: lower ranks are handled
    first, and one rank in the order of ids. If it would read the whole log, {since} limits it to ids that may be new. Events
    that the log no longer has are read from `topics`, one after the other. If `erased_too`, Kafka's copy of an erased event may
    be handled, because the tables keep none of the erased data.
    """

    handler: Handler
    wanted: str
    topics: Sequence[str]
    erased_too: bool = False


@dataclass(frozen=True)
class Source:
    """
    Tables that are built together and corrected together.

    `tables` are copied into the schema; `seed` statements add the values that no event has. They run at each catch-up before
    the events are handled; `finish` statements run after them. The tables of `locks` are locked in this order before the last
    comparison; `exclusive` locks out readers too. The tables of `needs` must exist. `not_in_log` is shown to operators: the
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
