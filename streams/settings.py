"""What a worker can be told."""

from datetime import timedelta

from pydantic import Field

from runtime.settings import Duration, Port, Settings, Url


class StreamSettings(Settings):
    """One worker process of one role; any number of the same role share the partitions."""

    database_url: Url
    """Where effects and marks are written, `postgresql://…`."""
    kafka_bootstrap_servers: str
    """`host:port`, comma-separated."""
    streams_web_host: str = "127.0.0.1"
    """Where the worker's Faust web listens; it has no authentication, so keep it on a private address."""
    streams_web_port: Port = 6066
    """Each worker on a machine needs its own."""
    streams_batch: int = Field(default=400, ge=1, le=5000)
    """Events handled in one round, over all lanes."""
    streams_lanes: int = Field(default=2, ge=1, le=16)
    """Transactions side by side; events of one key always share a lane."""
    streams_session_timeout: Duration = timedelta(seconds=10)
    """How long Kafka waits for a dead worker before its partitions move."""
    streams_commit_interval: Duration = timedelta(seconds=1)
    """How often handled offsets are committed to Kafka."""
    streams_retry_max: Duration = timedelta(seconds=10)
    """The longest pause between two attempts while something we need is away."""


class CacheSettings(StreamSettings):
    """A process of the cache worker."""

    redis_url: Url
    """Where the cache is, `redis://…`."""
    cache_key_prefix: str = ""
    """Put before every key and pattern that is invalidated, so that nothing else in that Redis can be touched."""


class SearchSettings(StreamSettings):
    """A process of the search worker."""

    elasticsearch_url: Url
    """Where documents are searched for, `http://…`."""
