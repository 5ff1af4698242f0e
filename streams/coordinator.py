"""Two guards around aiokafka's side of a consumer group, each against a way to lose one's place."""

from collections.abc import Callable
from typing import Any

from aiokafka import errors
from aiokafka.protocol.commit import OffsetFetchRequest


def guard(coordinator: Any, generation: Callable[[], int]) -> None:
    """
    Have a coordinator commit only as a member of the `generation` whose records were read, and raise on failed answers.

    A worker that was cut off until its group forgot it would commit without a membership, which Kafka accepts while the group is
    empty: over what an operator had moved it to. And to OffsetFetch a broker that is not the coordinator any more answers with an
    error beside an empty list, which aiokafka reads as a group that has never committed, and so begins at the beginning.
    """
    commit, send = coordinator._do_commit_offsets, coordinator._send_req  # noqa: SLF001  # it has no other seam

    async def commit_as_member(assignment: Any, offsets: Any) -> None:
        if coordinator.generation != generation():
            raise errors.IllegalGenerationError("not a member of the generation whose records were read")
        await commit(assignment, offsets)

    async def send_and_check(request: Any) -> Any:
        response = await send(request)
        if isinstance(request, OffsetFetchRequest) and (code := getattr(response, "error_code", 0)):
            error = errors.for_code(code)
            if error in {errors.NotCoordinatorForGroupError, errors.GroupCoordinatorNotAvailableError}:
                coordinator.coordinator_dead()
            raise error("OffsetFetch") if error.retriable else errors.KafkaConnectionError(f"OffsetFetch: {error.__name__}")
        return response

    coordinator._do_commit_offsets = commit_as_member  # noqa: SLF001  # likewise
    coordinator._send_req = send_and_check  # noqa: SLF001  # likewise
