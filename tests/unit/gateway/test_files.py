"""How the listeners share the files that the process may open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.listener import Shares, share


@pytest.mark.parametrize(
    ("files", "public", "internal", "expected"),
    [
        (1024, None, None, Shares(624, 208)),
        (65_536, None, None, Shares(4096, 1024)),
        (65_536, 20_000, 100, Shares(20_000, 100)),
        (1024, 20_000, None, Shares(624, 208)),
        (1024, 20_000, 20_000, Shares(1, 831)),
    ],
)
def test_a_listener_has_its_share(files: int, public: int | None, internal: int | None, expected: Shares) -> None:
    assert share(files, public, internal) == expected


WISH = st.none() | st.integers(1, 10**6)


@given(files=st.integers(1, 10**6), public=WISH, internal=WISH)
def test_both_have_some_and_together_no_more_than_there_is(files: int, public: int | None, internal: int | None) -> None:
    shares = share(files, public, internal)
    assert min(shares) >= 1
    assert sum(shares) <= max(2, files - 192)
