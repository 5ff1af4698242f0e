"""The metrics of the gateway; intake and the log of rejections have theirs beside them."""

from prometheus_client import Counter, Gauge

RECEIVED = Counter(
    "tallyhook_webhooks_received_total", "Verified webhooks that are committed, by outcome.", ["source", "outcome"]
)
IGNORED = Counter(
    "tallyhook_webhooks_ignored_total", "Verified webhooks that are stored and go to no worker, by reason.", ["source", "reason"]
)
REFUSALS = Counter("tallyhook_refusals_total", "Refused requests of all routes, by source and reason.", ["source", "reason"])
SECRET_USES = Counter(
    "tallyhook_secret_uses_total", "Verified signatures and tokens, by the public id of the secret.", ["kind", "secret"]
)
REFUSING = Gauge(
    "tallyhook_source_refusing_seconds",
    "Seconds for which every delivery of the source has been refused; 0 while deliveries are accepted.",
    ["source"],
)
GIVES_UP = Gauge(
    "tallyhook_source_gives_up_seconds",
    "Seconds for which the provider retries a delivery without a 2xx answer; after that the event is lost.",
    ["source"],
)
CONNECTIONS_OPEN = Gauge("tallyhook_connections_open", "Open connections of the listener.", ["listener"])
CONNECTIONS_ENDED = Counter(
    "tallyhook_connections_ended_total",
    "Closed connections; `why` is a late head, body, answer or handshake, idle, displaced, refused, memory, size.",
    ["listener", "why"],
)
