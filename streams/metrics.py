"""The metrics that a worker exposes to Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

HANDLED = Counter("tallyhook_worker_handled_total", "Events whose effects are committed, by type.", ["worker", "type"])
RESTORED = Counter(
    "tallyhook_worker_restored_total",
    "Events of an offset replay that were handled without external effects; part of the handled ones.",
    ["worker"],
)
REPEATED = Counter("tallyhook_worker_repeated_total", "Events that had had their effects before and were skipped.", ["worker"])
DEAD_LETTERED = Counter(
    "tallyhook_worker_dead_lettered_total", "Records that became dead letters, by reason.", ["worker", "reason"]
)
RETRIED = Counter(
    "tallyhook_worker_retried_total", "Attempts that failed because a server did not answer, by reason.", ["worker", "reason"]
)
BLOCKED = Gauge("tallyhook_worker_blocked", "1 while the worker waits for a server that does not answer, else 0.", ["worker"])
UNREADABLE = Gauge(
    "tallyhook_worker_unreadable_partitions",
    "Partitions of this process that wait at a batch of records that cannot be read.",
    ["worker"],
)
LAG = Gauge(
    "tallyhook_worker_lag",
    "Records of a partition of this process that are not committed yet: the end offset minus the committed one.",
    ["worker", "topic", "partition"],
)
SPLIT = Counter("tallyhook_worker_split_total", "Batches that were split to find an event that fails.", ["worker"])
ROUND = Histogram(
    "tallyhook_worker_round_seconds",
    "Seconds from fetching a batch to the commit of all its effects.",
    ["worker"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5, 30),
)
BATCH = Histogram(
    "tallyhook_worker_batch_events", "Events per round.", ["worker"], buckets=(1, 2, 5, 10, 50, 100, 200, 400, 1000)
)
