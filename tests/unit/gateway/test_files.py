"""The division of the files that the process may open among its listeners."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.listener import ConnectionLimits, connection_limits


@pytest.mark.parametrize(
    ("files", "public", "internal", "expected"),
    [
        (1024, None, None, ConnectionLimits(624, 208)),
        (65_536, None, None, ConnectionLimits(4096, 1024)),
        (65_536, 20_000, 100, ConnectionLimits(20_000, 100)),
        (1024, 20_000, None, ConnectionLimits(624, 208)),
        (1024, 20_000, 20_000, ConnectionLimits(1, 831)),
    ],
)
def test_a_listener_has_its_setting_or_a_part_of_the_files(
    files: int, public: int | None, internal: int | None, expected: ConnectionLimits
) -> None:
    assert connection_limits(files, public, internal) == expected


WISH = st.none() | st.integers(1, 10**6)


@given(files=st.integers(1, 10**6), public=WISH, internal=WISH)
def test_both_have_some_and_together_no_more_than_the_process(files: int, public: int | None, internal: int | None) -> None:
    limits = connection_limits(files, public, internal)
    assert min(limits) >= 1
    assert sum(limits) <= max(2, files - 192)
