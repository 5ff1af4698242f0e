"""The settings of the relay and of the upkeep of its tables."""

from collections.abc import Iterator, Mapping
from datetime import timedelta

from pydantic import Field

from runtime.kafka import KafkaSettings
from runtime.sessions import DEFAULT_LEASE
from runtime.settings import DatabaseUrl, Grace, Host, LockLease, Poll, Port, Settings, Timeout


class DatabaseSettings(Settings):
    """The address of Postgres, and the lease of locks there."""

    database_url: DatabaseUrl
    """`postgresql://user:password@host:port/name`."""
    lock_lease: LockLease = DEFAULT_LEASE
    """How long a silent process keeps its shards and claims; then the server ends its session."""


class RetentionSettings(DatabaseSettings):
    """The retention of the daily tables."""

    retention_days: int = Field(default=30, ge=1, le=3650)
    """Days for which raw payloads, the delivery log and consumed marks are kept."""
    retention_grace: Grace = timedelta(days=1)
    """How long a day beyond RETENTION_DAYS is detached, and can be attached again, before it is dropped."""


class TopicSettings(KafkaSettings):
    """The settings of the topics that `tallyhook topics ensure` creates, with which the doctor compares existing topics."""

    kafka_replication_factor: int = Field(default=1, ge=1, le=100)
    """Copies of each record in new topics, on as many brokers; set 3 if the cluster has that many."""
    kafka_min_insync_replicas: int | None = Field(default=None, ge=1, le=100)
    """Copies that must exist before Kafka acknowledges a record; with 2 of 3 one broker may be away. Unset: the brokers' own."""

    @classmethod
    def conflicts(cls, given: Mapping[str, str]) -> Iterator[str]:
        yield from super().conflicts(given)
        copies, least = cls.value("KAFKA_REPLICATION_FACTOR", given), cls.value("KAFKA_MIN_INSYNC_REPLICAS", given)
        if copies and least and least > copies:
            yield "KAFKA_MIN_INSYNC_REPLICAS: is more than KAFKA_REPLICATION_FACTOR, so that no record would ever be acknowledged"


class RelaySettings(RetentionSettings, KafkaSettings):
    """One relay process; any number of them share the shards."""

    relay_web_host: Host = "127.0.0.1"
    """Where `/metrics` and `/health/*` of the relay listen."""
    relay_web_port: Port = 6060
    """0 takes a free port."""
    relay_batch: int = Field(default=2000, ge=1, le=10_000)
    """Rows read, sent and deleted together; two batches are under way at once."""
    relay_batch_bytes: int = Field(default=8_388_608, ge=1, le=1_073_741_824)
    """Bytes of events in one batch; a larger event goes alone. The relay holds about six times as much at most."""
    relay_poll: Poll = timedelta(seconds=1)
    """How long to wait for a NOTIFY before looking anyway: the bound on lateness when a hint is lost."""
    relay_rebalance: Poll = timedelta(seconds=1)
    """How often the shards are divided again among the live relays."""
    lost_resend_rate: int = Field(default=200, ge=1, le=10_000)
    """Events a second that are sent again where Kafka has lost them before a worker read them."""
    ledger_sweep: Timeout = timedelta(minutes=1)
    """How often one of the relays looks for webhooks that stay in flight, and for rows whose counterpart is missing."""
    ledger_grace: Grace = timedelta(minutes=5)
    """How long a webhook may be in flight before that is an alert; well above what a request and its commit may take."""
