"""The metrics of the relay."""

from prometheus_client import Counter, Gauge, Histogram

RELAYED = Counter("tallyhook_relay_relayed_total", "Events that Kafka has acknowledged, by topic.", ["topic"])
PARKED = Counter(
    "tallyhook_relay_parked_total", "Events that were parked because Kafka refuses them for good, by reason.", ["reason"]
)
RESENT = Counter("tallyhook_relay_resent_total", "Events to publish again after a temporary refusal, by reason.", ["reason"])
LATENESS = Histogram(
    "tallyhook_relay_lateness_seconds",
    "Seconds from the creation of the oldest event of a batch to Kafka's acknowledgement.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5, 30, 120, 600, 3600),
)
BATCH = Histogram(
    "tallyhook_relay_batch_events", "Events per batch.", buckets=(1, 2, 5, 10, 50, 100, 500, 1000, 2000, 5000, 10000)
)
SHARDS_OWNED = Gauge("tallyhook_relay_shards", "Shards that this relay owns.")
PENDING = Gauge("tallyhook_outbox_pending", "Events that Kafka has not acknowledged, over all shards.")
OLDEST = Gauge("tallyhook_outbox_oldest_seconds", "Age of the oldest event that Kafka has not acknowledged, in seconds.")
PARKED_NOW = Gauge("tallyhook_outbox_parked", "Events that are parked because Kafka refuses them.")
RECONNECTS = Counter("tallyhook_relay_reconnects_total", "Times that the relay lost its connection to Postgres.")
UPKEEP = Gauge(
    "tallyhook_retention_last_success_timestamp_seconds",
    "Unix time of this relay's last maintenance of the daily partitions; 0 before the first.",
)
RETENTION_BEHIND = Gauge("tallyhook_retention_behind_days", "Days that are due to be deleted; one is deleted per hour.")
