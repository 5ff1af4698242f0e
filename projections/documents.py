"""JSON documents as Postgres returns them."""

import json
from typing import Any


def data_in(text: str) -> dict[str, Any] | None:
    """Decode one document of data; None if Python cannot decode it."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
