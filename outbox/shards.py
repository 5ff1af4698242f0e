"""
Who relays what: shards owned through session-level advisory locks, shared out fairly over the live relays.

A lock dies with its connection, so a killed relay's shards are free as soon as Postgres sees the connection close.
"""

import random
from typing import Final

from psycopg import Connection

from outbox.tables import SHARDS

_MEMBERS: Final = 7_205_759  # classid of the lock that every live relay shares
_SHARDS: Final = 7_205_760  # classid of the shards' locks; objid is the shard

_SEEN: Final = """
select count(*) filter (where classid = %(members)s),
       array_agg(objid::int8) filter (where classid = %(shards)s)
from pg_locks where locktype = 'advisory' and granted and objsubid = 2 and classid in (%(members)s, %(shards)s)
  and database = (select oid from pg_database where datname = current_database())
"""


class Shards:
    """The shards that one connection holds; empty again with every new connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.owned: list[int] = []

    def join(self) -> None:
        """Count as a live relay from now on."""
        self._connection.execute("select pg_advisory_lock_shared(%s, 0)", (_MEMBERS,))

    def surplus(self) -> list[int]:
        """
        Take what is free up to the fair share; returns what is owned beyond it.

        The caller gives those back by `release` once nothing of them is in flight.
        """
        row = self._connection.execute(_SEEN, {"members": _MEMBERS, "shards": _SHARDS}, prepare=True).fetchone()
        relays, taken = (row[0], set(row[1] or ())) if row else (1, set())
        fair = fair_share(relays)
        free = [shard for shard in range(SHARDS) if shard not in taken]
        random.shuffle(free)  # two relays that start together should not reach for the same ones
        self._take(free[: max(0, fair - len(self.owned))])
        return self.owned[fair:]

    def release(self, shards: list[int]) -> None:
        self._connection.execute("select pg_advisory_unlock(%s, s) from unnest(%s::int4[]) s", (_SHARDS, shards))
        self.owned = [shard for shard in self.owned if shard not in shards]

    def _take(self, wanted: list[int]) -> None:
        if not wanted:
            return
        rows = self._connection.execute(
            "select s from unnest(%s::int4[]) s where pg_try_advisory_lock(%s, s)", (wanted, _SHARDS), prepare=True
        )
        self.owned += [row[0] for row in rows]


def fair_share(relays: int) -> int:
    """How many shards one of so many relays may hold: enough that all are held."""
    return -(-SHARDS // max(1, relays))
