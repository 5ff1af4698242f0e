"""The metrics of the gateway; the log of rejections and the rate limits have theirs beside them."""

from prometheus_client import Counter, Gauge, Histogram

RECEIVED = Counter("tallyhook_webhooks_received_total", "Verified webhooks that are committed.", ["source", "outcome"])
IGNORED = Counter(
    "tallyhook_webhooks_ignored_total", "Verified webhooks that are stored and go to no worker, by why.", ["source", "reason"]
)
REFUSALS = Counter("tallyhook_refusals_total", "Requests refused, on every route.", ["source", "reason"])
SECRET_USES = Counter(
    "tallyhook_secret_uses_total", "Signatures and tokens that matched, by the secret's public id.", ["kind", "secret"]
)
REFUSING = Gauge(
    "tallyhook_source_refusing_seconds",
    "How long every delivery of the source has been refused; 0 while they are taken.",
    ["source"],
)
GIVES_UP = Gauge(
    "tallyhook_source_gives_up_seconds", "How long the provider sends again what it gets no 2xx for; then it is lost.", ["source"]
)
CONNECTIONS_OPEN = Gauge("tallyhook_connections_open", "Connections of the listener.", ["listener"])
CONNECTIONS_ENDED = Counter(
    "tallyhook_connections_ended_total",
    "Connections that the gateway ended: a late head, body, answer or handshake, idle, or displaced, refused, memory, size.",
    ["listener", "why"],
)

INTAKE_BATCH_EVENTS = Histogram(
    "tallyhook_intake_batch_events", "Webhooks a commit.", buckets=(1, 2, 5, 10, 20, 50, 100, 150, 200)
)
INTAKE_COMMIT_SECONDS = Histogram(
    "tallyhook_intake_commit_seconds",
    "One batch, from its statement to its commit.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5),
)
INTAKE_LATENESS = Histogram(
    "tallyhook_intake_lateness_seconds",
    "From the arrival of a webhook to its commit, the oldest of each batch.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
INTAKE_WAITING = Gauge("tallyhook_intake_waiting", "Webhooks that wait for a commit to take them.")
INTAKE_RECONNECTS = Counter("tallyhook_intake_reconnects_total", "Times intake lost a connection to Postgres.")
