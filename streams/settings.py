"""The settings of a worker."""

from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from projections.config_keys import ATTEMPTS_MAX
from runtime.kafka import KafkaSettings
from runtime.servers import ElasticsearchSettings, RedisTlsSettings
from runtime.sessions import DEFAULT_LEASE
from runtime.settings import (
    ApiBaseWithoutLogin,
    DatabaseUrl,
    Duration,
    Host,
    Interval,
    LockLease,
    Poll,
    Port,
    RedisUrl,
    Secrets,
    Text,
    Timeout,
    within,
)
from schemas.credentials import KEY_OF_STRIPE
from schemas.partners import PartnerSettings

LANE_SIZE: Final = 25
"""The number of events for which a batch gets another lane; for fewer, another transaction costs more than it saves."""


class StreamSettings(KafkaSettings):
    """One worker of one role; any number of the same role share the partitions."""

    database_url: DatabaseUrl
    """The database of effects and marks, `postgresql://…`."""
    lock_lease: LockLease = DEFAULT_LEASE
    """The time for which a silent process keeps its shards and claims; after it the server ends its session."""
    streams_web_host: Host = "127.0.0.1"
    """The address on which the worker's Faust web listens; it has no authentication, so keep it on a private address."""
    streams_web_port: Port = 6066
    """Each worker process on a machine needs its own."""
    streams_batch: int = Field(default=400, ge=1, le=5000)
    """Events handled in one round, over all lanes."""
    streams_batch_bytes: int = Field(default=4_194_304, ge=1, le=1_073_741_824)
    """Bytes of events in one round; a larger event is handled alone."""
    streams_lanes: int = Field(default=2, ge=1, le=16)
    """Transactions side by side, one for every 25 events of a batch; events of one key always share a lane."""
    streams_session_timeout: Annotated[Duration, within("1s", "30m")] = timedelta(seconds=10)
    """The time after which Kafka moves the partitions of a dead worker."""
    streams_commit_interval: Interval = timedelta(seconds=1)
    """The time between two commits of handled offsets to Kafka."""
    streams_retry_max: Timeout = timedelta(seconds=10)
    """The longest pause between two attempts while a needed server is unavailable."""

    @property
    def batch(self) -> int:
        """Events handled in one round, as this role does it."""
        return self.streams_batch

    @property
    def lane_size(self) -> int:
        """The number of events for which a batch of this role gets another lane."""
        return LANE_SIZE


class PaymentSettings(StreamSettings):
    """A process of the payments worker."""

    stripe_api_key: Annotated[Secrets, KEY_OF_STRIPE] = ()
    """A secret or restricted key that may read what payments are made of; the first one is used."""
    stripe_api_base: ApiBaseWithoutLogin = "https://api.stripe.com"
    """The address of Stripe's API."""
    stripe_api_rate: float = Field(default=5.0, ge=0.01, le=100.0)
    """Calls a second to Stripe's API, at most: of each payments worker, and of `tallyhook reconcile stripe`."""
    stripe_api_timeout: Timeout = timedelta(seconds=15)
    """The time that Stripe's API may take for one call."""
    stripe_fetch_attempts: int = Field(default=20, ge=1, le=1000)
    """Attempts to fetch an object before the thin event that names it is set aside; the pauses between them double, up to 1 h."""


class CacheSettings(StreamSettings, RedisTlsSettings):
    """A process of the cache worker."""

    redis_url: RedisUrl = Field(repr=False)
    """The Redis of the cache, `redis://…`."""
    cache_key_prefix: Text = ""
    """Put before every key and pattern that is invalidated, so that nothing else in that Redis can be removed."""

    @property
    def lane_size(self) -> int:
        return 1  # a command may go through all keys of Redis, which takes seconds


class SearchSettings(StreamSettings, ElasticsearchSettings):
    """A process of the search worker."""

    search_batch: int = Field(default=2000, ge=1, le=5000)
    """Documents in one round of the search worker, in place of STREAMS_BATCH: Elasticsearch takes large requests at less cost."""

    @property
    def batch(self) -> int:
        return self.search_batch


class DeliverySettings(PartnerSettings):
    """The bounds of one delivery to a partner."""

    lead_timeout: Timeout = timedelta(seconds=15)
    """The time that a CRM may take for one attempt."""


class LeadSettings(StreamSettings, DeliverySettings):
    """A process of the leads worker."""

    lead_max_attempts: int = Field(default=12, ge=1, le=ATTEMPTS_MAX)
    """Attempts to deliver a lead before it is given up."""
    lead_retry_base: Duration = timedelta(seconds=10)
    """The longest pause after the first failed attempt; it doubles with every further one."""
    lead_retry_max: Duration = timedelta(hours=6)
    """The longest pause between two attempts."""
    lead_partner_concurrency: int = Field(default=10, ge=1, le=1000)
    """Attempts under way at once to one partner, over all worker processes: one of them has a partner at a time."""
    lead_bytes: int = Field(default=33_554_432, ge=1, le=1_073_741_824)
    """Bytes of leads under way at once in a worker, an equal part for each partner; one lead of each at least."""
    lead_breaker_failures: int = Field(default=10, ge=1, le=1_000_000)
    """Failures in a row, of any leads, after which a CRM gets no leads for a while."""
    lead_breaker_cooldown: Duration = timedelta(seconds=10)
    """The length of the first such pause; it doubles with every probe that fails."""
    lead_probe_max: Timeout = timedelta(minutes=5)
    """The longest such pause: after it one lead is sent as a probe, even before it is due."""
    lead_poll: Poll = timedelta(milliseconds=200)
    """The time between two looks for due leads; while none is due, 15 s or until a notification."""
