"""How long a source is refused is known from the first refusal on, until something is taken."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import REGISTRY

from gateway.webhooks.standing import Standing


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def refusing(source: str) -> float | None:
    return REGISTRY.get_sample_value("tallyhook_source_refusing_seconds", {"source": source})


def test_time_runs_from_the_first_refusal_until_one_is_taken() -> None:
    clock = Clock()
    standing = Standing("here", timedelta(days=3), now=clock)
    assert refusing("here") == 0
    standing.refused()
    clock.now += 60
    standing.refused()
    assert refusing("here") == 60
    standing.taken()
    assert refusing("here") == 0
    standing.refused()
    assert refusing("here") == 0


def test_how_long_a_provider_tries_is_told_where_it_is_known() -> None:
    Standing("patient", timedelta(days=3))
    Standing("unknown", None)
    assert REGISTRY.get_sample_value("tallyhook_source_gives_up_seconds", {"source": "patient"}) == 259_200
    assert REGISTRY.get_sample_value("tallyhook_source_gives_up_seconds", {"source": "unknown"}) is None
