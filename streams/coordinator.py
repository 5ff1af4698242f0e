"""Guards around aiokafka's side of a consumer group: against two ways to lose one's place, and for a right that is missing."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiokafka import errors
from aiokafka.protocol.commit import OffsetFetchRequest

FORBIDDEN: Final = (errors.TopicAuthorizationFailedError, errors.GroupAuthorizationFailedError)


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


def guard_rights(coordinator: Any, suspect: Callable[[BaseException], None], retry: float) -> None:
    """
    Have a coordinator try again after `retry` seconds where Kafka refuses it for a right, and report that to `suspect`.

    aiokafka hands such an error to the next call of its user, and does nothing until then; Faust makes no such call, and ends the
    process for a commit that is refused. Such a commit counts as one of a generation that is over: it is made again.
    """
    push, commit, send = coordinator._push_error_to_user, coordinator.commit_offsets, coordinator._send_req  # noqa: SLF001  # it has no other seam

    async def push_or_wait(error: BaseException) -> None:
        if not isinstance(error, FORBIDDEN):
            await push(error)
            return
        suspect(error)
        await asyncio.wait([coordinator._closing], timeout=retry)  # noqa: SLF001  # likewise
        coordinator.request_rejoin()  # the task that was refused has ended, and begins anew with a membership

    async def commit_if_permitted(assignment: Any, offsets: Any) -> None:
        try:
            await commit(assignment, offsets)
        except FORBIDDEN as error:
            suspect(error)
            raise errors.CommitFailedError(f"{error!r}; to be made again, as if the group had already rebalanced") from error

    async def send_and_look(request: Any) -> Any:
        response = await send(request)
        if isinstance(request, OffsetFetchRequest):
            codes = {code for _, places in response.topics for *_, code in places}
            if refused := next((error for error in FORBIDDEN if error.errno in codes), None):
                suspect(refused())
                raise errors.KafkaConnectionError(f"OffsetFetch: {refused.__name__}")  # is tried again
        return response

    coordinator._push_error_to_user = push_or_wait  # noqa: SLF001  # likewise
    coordinator.commit_offsets = commit_if_permitted
    coordinator._send_req = send_and_look  # noqa: SLF001  # likewise
