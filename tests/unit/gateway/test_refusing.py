"""The time for which a source has been refused: from the first refusal until a delivery is accepted."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import REGISTRY

from gateway.webhooks.reception import Refusing


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def refusing(source: str) -> float | None:
    return REGISTRY.get_sample_value("tallyhook_source_refusing_seconds", {"source": source, "endpoint": ""})


def test_time_runs_from_the_first_refusal_until_one_is_accepted() -> None:
    clock = Clock()
    source = Refusing("here", timedelta(days=3), now=clock)
    assert refusing("here") == 0
    source.refused()
    clock.now += 60
    source.refused()
    assert refusing("here") == 60
    source.accepted()
    assert refusing("here") == 0
    source.refused()
    assert refusing("here") == 0


def test_the_retry_period_of_a_provider_is_exposed_if_it_is_known() -> None:
    Refusing("patient", timedelta(days=3))
    Refusing("unknown", None)
    assert REGISTRY.get_sample_value("tallyhook_source_gives_up_seconds", {"source": "patient", "endpoint": ""}) == 259_200
    assert REGISTRY.get_sample_value("tallyhook_source_gives_up_seconds", {"source": "unknown", "endpoint": ""}) is None
