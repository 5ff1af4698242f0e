"""What the gateway tells Prometheus; intake and the log of rejections have theirs beside them."""

from prometheus_client import Counter

RECEIVED = Counter("tallyhook_webhooks_received_total", "Verified webhooks that are committed.", ["source", "outcome"])
REFUSALS = Counter("tallyhook_refusals_total", "Requests refused, on every route.", ["source", "reason"])
SECRET_USES = Counter(
    "tallyhook_secret_uses_total", "Signatures and tokens that matched, by the secret's public id.", ["kind", "secret"]
)
