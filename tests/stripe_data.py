"""
Stripe's own objects as events, unsigned: one a line, as bytes.

They come from the fixtures that Stripe publishes with its OpenAPI description (https://github.com/stripe/openapi, MIT licence),
with ids made unique. `fixtures` has every event type for which there is one, in five API versions from 2017 to 2026; `variants`
has the objects that we handle, with one field at a time null, left out, expanded or another word of its enumeration, in two.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Final, Literal

_FOLDER: Final = Path(__file__).parent / "data"


def events(kind: Literal["fixtures", "variants"]) -> list[bytes]:
    with gzip.open(_FOLDER / f"stripe-{kind}.jsonl.gz") as lines:
        return [line.rstrip(b"\n") for line in lines]
