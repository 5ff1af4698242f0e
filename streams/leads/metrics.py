"""What the leads worker tells Prometheus. Partners are those of the settings, so their number is bounded."""

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter(
    "tallyhook_lead_attempts_total", "Attempts to deliver a lead, by the decision that followed.", ["partner", "decision"]
)
SECONDS = Histogram(
    "tallyhook_lead_attempt_seconds",
    "Seconds from the start of an attempt to the CRM's answer.",
    ["partner"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30),
)
UNDER_WAY = Gauge("tallyhook_lead_attempts_under_way", "Attempts that are running.", ["partner"])
BREAKER = Gauge("tallyhook_lead_breaker_open", "1 while the circuit breaker of the partner is open, else 0.", ["partner"])
SUPERSEDED = Counter("tallyhook_lead_attempts_superseded_total", "Attempts that ended after their claim had expired.")
