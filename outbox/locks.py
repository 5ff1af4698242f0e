"""
The numbers of our advisory locks in Postgres: arbitrary but fixed, and each used for one thing only.

Locks by a hash of a text (`projections/config.py`, `outbox/lost.py`) last for a transaction and have no number.
"""

from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """Locks by one number, held by one session at a time."""

    MIGRATE = 7_205_759_403
    """Held by `migrate`: two at once must not interleave."""
    PARTITIONS = 7_205_759_404
    """Held by the process that does the upkeep of days: several can, one at a time does."""
    REPLAYS = 7_205_759_405
    """Held by the gateway that works on webhook replays."""
    SWEEP = 7_205_759_406
    """Held by the relay that sweeps the ledger: it alone exports the gauges, so summing them over all relays is right."""
    RECOVERY = 7_205_759_407
    """Held by the relay that looks for records that Kafka has lost, and sends them again."""


@unique
class Kind(IntEnum):
    """First numbers of locks by two numbers; the second one identifies the holder, the shard or the schema."""

    RELAY = 7_205_759
    """Shared by every live relay."""
    RELAY_SHARD = 7_205_760
    PRESENCE = 7_205_761
    """Held by every live process that holds idempotency keys, under its own number."""
    LEADS_WORKER = 7_205_762
    """Shared by every live leads worker."""
    LEADS_SHARD = 7_205_763
    SHADOW = 720_575_940
    """Held by the command that made a shadow schema, under the hash of the schema's name."""
