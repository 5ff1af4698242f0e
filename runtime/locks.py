"""The numbers of our advisory locks in Postgres: any fixed ones, each used for one thing only."""

from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """Locks by one number, held by one session at a time."""

    MIGRATE = 7_205_759_403
    """Two `migrate` at once must not interleave."""
    PARTITIONS = 7_205_759_404
    """The upkeep of days runs in several processes; one at a time does it."""
    REPLAYS = 7_205_759_405
    """Of the one gateway that works on webhook replays."""
    SWEEP = 7_205_759_406
    """Held for as long as a relay sweeps the ledger: the others say nothing, so that their sum is the truth."""
    RECOVERY = 7_205_759_407
    """Held by the relay that looks for what Kafka has lost, and sends it again."""


@unique
class Kind(IntEnum):
    """First numbers of locks by two; the second says which of them."""

    RELAY = 7_205_759
    """Shared by every live relay."""
    RELAY_SHARD = 7_205_760
    PRESENCE = 7_205_761
    """Of a live process that holds idempotency keys."""
    LEADS_WORKER = 7_205_762
    """Shared by every live leads worker."""
    LEADS_SHARD = 7_205_763
