"""The sources of projections: the events that made each, and the code that makes it again."""

from collections.abc import Sequence
from dataclasses import dataclass

from operations.rebuild.parts import Part
from streams.handler import Handler


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

    `tables` are copied into the schema; `seed` statements fill what no event tells, and are run whenever it is brought up to
    date, before the events are handled, as `finish` is after them. `locks` are taken in this order before the last look, and
    `exclusive` keeps readers out too. What it `needs` has to be there.
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
