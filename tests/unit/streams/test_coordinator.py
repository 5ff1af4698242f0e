"""Only members of a consumer group commit, and only answers without an error count."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.protocol.commit import OffsetFetchRequest

from streams.coordinator import FORBIDDEN, guard, guard_rights


class Coordinator:
    """aiokafka's coordinator, with the guarded methods only."""

    def __init__(self) -> None:
        self.generation = 7
        self.committed: list[Any] = []
        self.code = 0
        self.is_dead = False
        self.topics: list[Any] = []
        self.pushed: list[BaseException] = []
        self.rejoins = 0
        self.refusal: errors.KafkaError | None = None
        self._closing = asyncio.get_running_loop().create_future()

    async def commit_offsets(self, assignment: Any, offsets: Any) -> None:
        if self.refusal:
            raise self.refusal
        await self._do_commit_offsets(assignment, offsets)

    async def _push_error_to_user(self, error: BaseException) -> None:
        self.pushed.append(error)

    def request_rejoin(self) -> None:
        self.rejoins += 1

    async def _do_commit_offsets(self, assignment: Any, offsets: Any) -> None:
        self.committed.append((assignment, offsets))

    async def _send_req(self, _: Any) -> Any:
        return SimpleNamespace(error_code=self.code, topics=self.topics)

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
async def test_a_member_that_was_removed_or_not_assigned_yet_commits_nothing(generation: int) -> None:
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
async def test_a_failed_answer_is_requested_again(error: type[errors.KafkaError], *, is_dead: bool) -> None:
    coordinator = guarded()
    coordinator.code = error.errno
    with pytest.raises(errors.KafkaError) as caught:
        await coordinator._send_req(FETCH)
    assert (caught.value.retriable, coordinator.is_dead) == (True, is_dead)


async def test_other_responses_are_left_alone() -> None:
    coordinator = guarded()
    coordinator.code = errors.NotCoordinatorForGroupError.errno
    assert (await coordinator._send_req(object())).error_code


def watched() -> tuple[Any, list[str]]:
    coordinator, suspected = Coordinator(), list[str]()
    guard_rights(coordinator, lambda _: suspected.append("looked at"), 0.0)
    return coordinator, suspected


@pytest.mark.parametrize("refusal", FORBIDDEN)
async def test_a_request_refused_for_a_right_is_retried_by_itself(refusal: type[errors.KafkaError]) -> None:
    coordinator, suspected = watched()
    await coordinator._push_error_to_user(refusal())
    assert (coordinator.pushed, coordinator.rejoins, suspected) == ([], 1, ["looked at"])


@pytest.mark.parametrize("refusal", FORBIDDEN)
async def test_a_commit_that_is_refused_for_a_right_ends_nothing(refusal: type[errors.KafkaError]) -> None:
    coordinator, suspected = watched()
    coordinator.refusal = refusal()
    with pytest.raises(errors.CommitFailedError, match="already rebalanced"):  # what Faust looks for
        await coordinator.commit_offsets("assignment", {"place": 1})
    assert suspected == ["looked at"]


@pytest.mark.parametrize("refusal", FORBIDDEN)
async def test_committed_offsets_that_may_not_be_read_are_requested_again(refusal: type[errors.KafkaError]) -> None:
    coordinator, suspected = watched()
    coordinator.topics = [("topic", [(0, -1, "", refusal.errno)])]
    with pytest.raises(errors.KafkaError) as caught:
        await coordinator._send_req(FETCH)
    assert (caught.value.retriable, suspected) == (True, ["looked at"])


async def test_other_failures_are_none_of_its_business() -> None:
    coordinator, suspected = watched()
    error, coordinator.refusal = errors.UnknownError(), errors.UnknownMemberIdError()
    coordinator.topics = [("topic", [(0, 7, "", 0)])]
    await coordinator._push_error_to_user(error)
    with pytest.raises(errors.UnknownMemberIdError):
        await coordinator.commit_offsets("assignment", {"place": 1})
    assert (await coordinator._send_req(FETCH)).topics == coordinator.topics
    assert (coordinator.pushed, coordinator.rejoins, suspected) == ([error], 0, [])
