"""Guards around aiokafka's group coordinator: against two ways to lose the committed offsets, and for missing rights."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiokafka import errors
from aiokafka.protocol.commit import OffsetFetchRequest

FORBIDDEN: Final = (errors.TopicAuthorizationFailedError, errors.GroupAuthorizationFailedError)


def guard(coordinator: Any, generation: Callable[[], int]) -> None:
    """
    Make a coordinator commit only as a member of the `generation` whose records were read, and raise on error responses.

    A worker that was cut off until its group removed it would commit without a membership. Kafka accepts that while the group
    is empty, and the commit would overwrite offsets that an operator had moved. And a broker that is no longer the coordinator
    answers OffsetFetch with an error and an empty list: aiokafka would take that for a group that has never committed, and read
    from the beginning.
    """
    commit, send = coordinator._do_commit_offsets, coordinator._send_req  # noqa: SLF001  # it has no public hook

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
    Make a coordinator retry after `retry` seconds where Kafka refuses it for a missing right, and report that to `suspect`.

    aiokafka raises such an error in the next call of its user, and does nothing until then. Faust makes no such call, and ends
    the process when a commit is refused. Here a refused commit counts as one of a generation that is over: it is made again.
    """
    push, commit, send = coordinator._push_error_to_user, coordinator.commit_offsets, coordinator._send_req  # noqa: SLF001  # it has no public hook

    async def push_or_wait(error: BaseException) -> None:
        if not isinstance(error, FORBIDDEN):
            await push(error)
            return
        suspect(error)
        await asyncio.wait([coordinator._closing], timeout=retry)  # noqa: SLF001  # likewise
        coordinator.request_rejoin()  # the refused task has ended; a new one starts with the next membership

    async def commit_if_permitted(assignment: Any, offsets: Any) -> None:
        try:
            await commit(assignment, offsets)
        except FORBIDDEN as error:
            suspect(error)
            raise errors.CommitFailedError(f"{error!r}; to be made again, as if the group had already rebalanced") from error

    async def send_and_report(request: Any) -> Any:
        response = await send(request)
        if isinstance(request, OffsetFetchRequest):
            codes = {code for _, places in response.topics for *_, code in places}
            if refused := next((error for error in FORBIDDEN if error.errno in codes), None):
                suspect(refused())
                raise errors.KafkaConnectionError(f"OffsetFetch: {refused.__name__}")  # is tried again
        return response

    coordinator._push_error_to_user = push_or_wait  # noqa: SLF001  # likewise
    coordinator.commit_offsets = commit_if_permitted
    coordinator._send_req = send_and_report  # noqa: SLF001  # likewise
