"""The effects that the demo shows, the same for open and for secured servers."""

from __future__ import annotations

from typing import Final

EFFECTS: Final = (
    "succeeded, 49.90 EUR",
    "mail to demo-user@example.com: Your payment of 49.90 EUR has arrived",
    "delivered; attempt 1 answered 204",
    "Redis: 3 of 3 keys removed, 0 left",
    "finds demo-",
)
