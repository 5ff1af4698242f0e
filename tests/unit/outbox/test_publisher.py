"""Errors of the relay's own process while it makes a record."""

from __future__ import annotations

from typing import Any

import pytest

from outbox import publisher
from outbox.publisher import Publisher
from runtime.kafka import Cluster
from tests.unit.outbox.test_held import row


class Producer:
    """Takes every record."""

    def __init__(self, _: Any) -> None:
        pass

    def produce(self, *_: Any, **__: Any) -> None:
        pass


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Return the errors that the headers of the next records raise."""
    errors: list[Exception] = []

    def to_headers(_: Any) -> list[tuple[str, bytes]]:
        raise errors.pop()

    monkeypatch.setattr(publisher, "Producer", Producer)
    monkeypatch.setattr(publisher, "to_headers", to_headers)
    return errors


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files")], ids=["memory", "files"])
def test_a_lack_of_memory_or_files_is_no_fault_of_the_row(failing: list[Exception], error: Exception) -> None:
    failing.append(error)
    with pytest.raises(type(error)):
        Publisher(Cluster("kafka:9092")).send([row(1, "payments")], lambda: None)


def test_a_value_that_no_record_can_have_is_a_fault_of_the_row(failing: list[Exception]) -> None:
    failing.append(ValueError("a year of five digits"))
    batch = Publisher(Cluster("kafka:9092")).send([row(1, "payments")], lambda: None)
    assert [(place, refusal.alone, str(refusal.error)) for place, refusal in batch.refused.items()] == [
        (0, True, "a year of five digits")
    ]
