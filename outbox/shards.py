"""
Shards of the work: each is owned through a session-level advisory lock, and they are spread evenly over the live processes.

A lock dies with its connection, so a killed process's shards are free as soon as Postgres sees the connection close.
"""

import random
from typing import Final, NamedTuple

from psycopg import Connection

from outbox.locks import Kind

SHARDS: Final = 64  # fixed for ever: a changed number would let two relays hold one aggregate


class ShardGroup(NamedTuple):
    """The processes of one kind that share the shards: the lock that each member holds, and the locks of the shards."""

    members: Kind
    shards: Kind


RELAYS: Final = ShardGroup(Kind.RELAY, Kind.RELAY_SHARD)
LEADS_WORKERS: Final = ShardGroup(Kind.LEADS_WORKER, Kind.LEADS_SHARD)

_SEEN: Final = """
select count(*) filter (where classid = %(members)s),
       array_agg(objid::int8) filter (where classid = %(shards)s)
from pg_locks where locktype = 'advisory' and granted and objsubid = 2 and classid in (%(members)s, %(shards)s)
  and database = (select oid from pg_database where datname = current_database())
"""


class Shards:
    """The shards that one connection holds; empty again with every new connection."""

    def __init__(self, connection: Connection, group: ShardGroup) -> None:
        self._connection = connection
        self._group = group
        self.owned: list[int] = []
        self.members = 0
        """Live processes of this kind at the last look."""

    def join(self) -> None:
        """Count this process as a live member from now on."""
        self._connection.execute("select pg_advisory_lock_shared(%s, 0)", (self._group.members,))

    def surplus(self) -> list[int]:
        """
        Take free shards up to the fair share, and return the owned ones beyond it.

        The caller gives these back by `release` once nothing of them is under way.
        """
        row = self._connection.execute(_SEEN, self._group._asdict(), prepare=True).fetchone()
        members, taken = (row[0], set(row[1] or ())) if row else (1, set())
        self.members, fair = members, fair_share(members)
        free = [shard for shard in range(SHARDS) if shard not in taken]
        random.shuffle(free)  # two processes that start together should not try to take the same ones
        self._take(free[: max(0, fair - len(self.owned))])
        return self.owned[fair:]

    def release(self, shards: list[int]) -> None:
        self._connection.execute("select pg_advisory_unlock(%s, s) from unnest(%s::int4[]) s", (self._group.shards, shards))
        self.owned = [shard for shard in self.owned if shard not in shards]

    def _take(self, wanted: list[int]) -> None:
        if not wanted:
            return
        rows = self._connection.execute(
            "select s from unnest(%s::int4[]) s where pg_try_advisory_lock(%s, s)", (wanted, self._group.shards), prepare=True
        )
        self.owned += [row[0] for row in rows]


def fair_share(members: int) -> int:
    """Return the largest number of shards that one of `members` processes may hold; together they can hold all shards."""
    return -(-SHARDS // max(1, members))
