"""The metrics that a worker exposes to Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

HANDLED = Counter("tallyhook_worker_handled_total", "Events whose effects are committed.", ["worker", "type"])
RESTORED = Counter(
    "tallyhook_worker_restored_total", "Of the handled: events of a replay, handled without effects outside.", ["worker"]
)
REPEATED = Counter("tallyhook_worker_repeated_total", "Events that had their effects before and were passed over.", ["worker"])
DEAD_LETTERED = Counter("tallyhook_worker_dead_lettered_total", "Records set aside.", ["worker", "reason"])
RETRIED = Counter("tallyhook_worker_retried_total", "Attempts that found something away.", ["worker", "reason"])
BLOCKED = Gauge("tallyhook_worker_blocked", "1 while the worker waits for something that is away.", ["worker"])
LAG = Gauge(
    "tallyhook_worker_lag",
    "Records of a partition that this process has yet to commit: the end less the commit.",
    ["worker", "topic", "partition"],
)
SPLIT = Counter("tallyhook_worker_split_total", "Batches cut in two to find an event that fails.", ["worker"])
ROUND = Histogram(
    "tallyhook_worker_round_seconds",
    "From taking a batch to the commit of all its effects.",
    ["worker"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5, 30),
)
BATCH = Histogram("tallyhook_worker_batch_events", "Events a round.", ["worker"], buckets=(1, 2, 5, 10, 50, 100, 200, 400, 1000))
