"""
The metrics of the gateway; the log of rejections and the rate limits define theirs in their own modules.

The label `endpoint` is empty for a provider's plain path; its other values are the endpoints that exist.
"""

from prometheus_client import Counter, Gauge, Histogram

RECEIVED = Counter(
    "tallyhook_webhooks_received_total", "Verified webhooks that are committed, by outcome.", ["source", "outcome", "endpoint"]
)
IGNORED = Counter(
    "tallyhook_webhooks_ignored_total",
    "Verified webhooks that are stored and go to no worker, by reason.",
    ["source", "reason", "endpoint"],
)
REFUSALS = Counter(
    "tallyhook_refusals_total",
    "Refused requests of all routes, by source and reason; the endpoint is empty where it is unknown.",
    ["source", "reason", "endpoint"],
)
SECRET_USES = Counter(
    "tallyhook_secret_uses_total", "Verified signatures and tokens, by the public id of the secret.", ["kind", "secret"]
)
REFUSING = Gauge(
    "tallyhook_source_refusing_seconds",
    "Seconds for which every delivery of the source has been refused; 0 while deliveries are accepted.",
    ["source", "endpoint"],
)
GIVES_UP = Gauge(
    "tallyhook_source_gives_up_seconds",
    "Seconds for which the provider retries a delivery without a 2xx answer; after that the event is lost.",
    ["source", "endpoint"],
)
CONNECTIONS_OPEN = Gauge("tallyhook_connections_open", "Open connections of the listener.", ["listener"])
CONNECTIONS_ENDED = Counter(
    "tallyhook_connections_ended_total",
    "Closed connections; `why` is a late head, body, answer or handshake, idle, displaced, refused, memory, size.",
    ["listener", "why"],
)

INTAKE_BATCH_EVENTS = Histogram(
    "tallyhook_intake_batch_events", "Webhooks per commit.", buckets=(1, 2, 5, 10, 20, 50, 100, 150, 200)
)
INTAKE_COMMIT_SECONDS = Histogram(
    "tallyhook_intake_commit_seconds",
    "Seconds from the statement of a batch to its commit.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5),
)
INTAKE_LATENESS = Histogram(
    "tallyhook_intake_lateness_seconds",
    "Seconds from the arrival of the oldest webhook of a batch to the commit.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
INTAKE_WAITING = Gauge("tallyhook_intake_waiting", "Webhooks that wait for their commit.")
INTAKE_RECONNECTS = Counter("tallyhook_intake_reconnects_total", "Times that intake lost a connection to Postgres.")
