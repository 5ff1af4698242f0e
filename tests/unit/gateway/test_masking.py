"""The personal data that is masked for a reader."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.masking import MASK, masked, without_addresses


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ({"to": "user-7", "id": 3}, {"to": MASK, "id": 3}),
        ({"items": [{"payload": {"name": "Ada"}, "headers": [["a", "b"]]}]}, {"items": [{"payload": MASK, "headers": []}]}),
        ({"email": None, "detail": "to ada@example.com failed"}, {"email": None, "detail": f"to {MASK} failed"}),
        ({"key": "+4915112345678"}, {"key": MASK}),
        ({"link": "/internal/v1/contacts/ada@example.com?x=1"}, {"link": f"/internal/v1/contacts/{MASK}?x=1"}),
        ({"text": "mailto:ada@example.com, <bob@example.com>"}, {"text": f"mailto:{MASK}, <{MASK}>"}),
        ({"link": "/internal/v1/contacts/ada%40example.com"}, {"link": f"/internal/v1/contacts/{MASK}"}),
        ({"link": "/internal/v1/contacts/%2B4915112345678"}, {"link": f"/internal/v1/contacts/{MASK}"}),
        ({"at": "2026-11-24T10:00:00+00:00", "amount": 4915112345678, "id": "pi_1"}, None),
        ({"at": "2026-11-24T10:00:00.123456Z", "x": "a@", "y": "@b", "z": "5+123456789"}, None),
    ],
)
def test_personal_fields_and_addresses_are_masked_and_nothing_else(value: Any, seen: Any) -> None:
    assert masked(value, {"to", "payload", "headers", "email"}) == (value if seen is None else seen)


@pytest.mark.parametrize("word", ["a" * 100_000, "+1" * 50_000, "%4" * 50_000, "%2B1" * 25_000])
def test_the_time_to_mask_a_long_word_does_not_grow_with_its_square(word: str) -> None:
    began = time.thread_time()
    assert without_addresses(f"{word} {word}@example.com") == f"{word} {MASK}"
    assert time.thread_time() - began < 1
