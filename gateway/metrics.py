"""The metrics of the gateway; intake and the log of rejections have theirs beside them."""

from prometheus_client import Counter, Gauge

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
