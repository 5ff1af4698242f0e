"""The part of an id in a path that is logged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.middlewares import short_id


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("0190f3c2-7c1e-7d2a-9b1e-3f4a5b6c7d8e", "0190f3c2-7c1e-7d2a-9b1e-3f4a5b6c7d8e"),
        ("pi_3MtwBwLkdIwHu7ix28a3tqPa", "pi_3Mtw…"),
        ("sub_1MowQVLkdIwHu7ixeRlqHVzs", "sub_1Mow…"),
        ("pay_29QQoUBi66xm2f", "pay_29QQ…"),
        ("sk_live_51HxYzAbCdEfGh", None),
        ("whsec_aGVsbG8gd29ybGQ", None),
        ("acme", None),
        ("pi_3MtwBwLkdIwHu7ix28a3tqPa\n", None),
    ],
)
def test_only_texts_that_are_surely_ids_are_kept(text: str, kept: str | None) -> None:
    assert short_id(text) == kept


@given(st.text(min_size=13, max_size=31))
def test_no_other_text_is_kept_in_whole(text: str) -> None:
    assert short_id(text) != text
