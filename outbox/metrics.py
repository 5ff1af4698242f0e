"""What the relay tells Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

RELAYED = Counter("tallyhook_relay_relayed_total", "Events that Kafka has acknowledged.", ["topic"])
PARKED = Counter("tallyhook_relay_parked_total", "Events set aside because Kafka refuses them for good.", ["reason"])
RESENT = Counter("tallyhook_relay_resent_total", "Events to be sent again after a passing refusal.", ["reason"])
LATENESS = Histogram(
    "tallyhook_relay_lateness_seconds",
    "From the making of an event's id to Kafka's acknowledgement, the oldest of each batch.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5, 30, 120, 600, 3600),
)
BATCH = Histogram("tallyhook_relay_batch_events", "Events a batch.", buckets=(1, 2, 5, 10, 50, 100, 500, 1000, 2000, 5000, 10000))
SHARDS_OWNED = Gauge("tallyhook_relay_shards", "Shards that this relay owns.")
PENDING = Gauge("tallyhook_outbox_pending", "Events that wait for Kafka, over all shards.")
OLDEST = Gauge("tallyhook_outbox_oldest_seconds", "How long the oldest event that waits for Kafka has waited.")
PARKED_NOW = Gauge("tallyhook_outbox_parked", "Events that are set aside now, since Kafka refuses them.")
RECONNECTS = Counter("tallyhook_relay_reconnects_total", "Times the relay lost Postgres.")
UPKEEP = Gauge("tallyhook_retention_last_success_timestamp_seconds", "When this relay last kept the daily partitions; 0 before.")
RETENTION_BEHIND = Gauge(
    "tallyhook_retention_behind_days", "Days that are due to be deleted and left for later runs, one an hour."
)
