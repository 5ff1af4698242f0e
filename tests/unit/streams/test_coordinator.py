"""Of a consumer group only its members commit, and only answers count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.protocol.commit import OffsetFetchRequest

from streams.coordinator import guard


class Coordinator:
    """aiokafka's, as far as it is guarded."""

    def __init__(self) -> None:
        self.generation = 7
        self.committed: list[Any] = []
        self.code = 0
        self.is_dead = False

    async def _do_commit_offsets(self, assignment: Any, offsets: Any) -> None:
        self.committed.append((assignment, offsets))

    async def _send_req(self, _: Any) -> Any:
        return SimpleNamespace(error_code=self.code, topics=[])

    def coordinator_dead(self) -> None:
        self.is_dead = True


def guarded(generation: int = 7) -> Any:
    coordinator = Coordinator()
    guard(coordinator, lambda: generation)
    return coordinator


FETCH = OffsetFetchRequest("group", [("topic", [0])])


async def test_a_member_commits() -> None:
    coordinator = guarded()
    await coordinator._do_commit_offsets("assignment", {"place": 1})
    assert coordinator.committed == [("assignment", {"place": 1})]


@pytest.mark.parametrize("generation", [-1, 6, 8])
async def test_who_has_been_forgotten_or_has_not_been_told_yet_commits_nothing(generation: int) -> None:
    coordinator = guarded()
    coordinator.generation = generation
    with pytest.raises(errors.IllegalGenerationError):
        await coordinator._do_commit_offsets("assignment", {"place": 1})
    assert coordinator.committed == []


async def test_an_answer_is_passed_on() -> None:
    assert (await guarded()._send_req(FETCH)).topics == []


@pytest.mark.parametrize(
    ("error", "is_dead"),
    [
        (errors.NotCoordinatorForGroupError, True),
        (errors.GroupCoordinatorNotAvailableError, True),
        (errors.GroupLoadInProgressError, False),
        (errors.GroupAuthorizationFailedError, False),
    ],
)
async def test_a_failed_answer_is_asked_for_again(error: type[errors.KafkaError], *, is_dead: bool) -> None:
    coordinator = guarded()
    coordinator.code = error.errno
    with pytest.raises(errors.KafkaError) as caught:
        await coordinator._send_req(FETCH)
    assert (caught.value.retriable, coordinator.is_dead) == (True, is_dead)


async def test_what_else_is_sent_is_none_of_its_business() -> None:
    coordinator = guarded()
    coordinator.code = errors.NotCoordinatorForGroupError.errno
    assert (await coordinator._send_req(object())).error_code
