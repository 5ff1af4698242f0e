"""Commands of our own services: durable before they are answered, idempotent under a key."""
