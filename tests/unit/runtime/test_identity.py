"""A task with its own name passes it to the tasks that it starts, and to no other task."""

from __future__ import annotations

import asyncio

from runtime.identity import work_as, working_as


async def test_a_task_and_its_subtasks_have_the_name_and_others_have_that_of_the_process() -> None:
    async def begun() -> str:
        return working_as("process")

    async def role(name: str) -> list[str]:
        work_as(name)
        return [working_as("process"), await asyncio.create_task(begun()), await asyncio.to_thread(working_as, "process")]

    found = await asyncio.gather(role("one"), role("other"), begun())
    assert found == [["one"] * 3, ["other"] * 3, "process"]
