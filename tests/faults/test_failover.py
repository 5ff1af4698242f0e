"""The primary of Postgres dies under load and its synchronous standby is promoted: every process finds it by itself."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest

from tests.clusters import Primary, Standby, two_postgres
from tests.faults.crowd import PARTNER, assert_each_once, sending
from tests.simulators import partner
from tests.simulators.crm import SECRET, running_crm
from tests.system import running_system

if TYPE_CHECKING:
    from ops.stack import Stack
    from tests.servers import StartStack

SETTINGS: Final = {"STREAMS_SESSION_TIMEOUT": "6s", "STREAMS_RETRY_MAX": "2s"}
FEW: Final = 20


@pytest.fixture
def stack(own_stack: StartStack) -> Stack:
    return own_stack(Primary.name, Standby.name, "kafka", kinds=two_postgres())


@pytest.mark.timeout(240)
async def test_a_primary_lost_under_load_loses_and_doubles_nothing(stack: Stack) -> None:
    primary, standby = stack.postgres, stack.server(Standby.name)
    assert isinstance(primary, Primary)
    assert isinstance(standby, Standby)
    async with running_crm() as crm:
        settings = SETTINGS | partner.settings(crm.url, SECRET, PARTNER)
        with ExitStack() as ends:
            system = await asyncio.to_thread(ends.enter_context, running_system(stack, workers=("payments", "leads"), **settings))
            await asyncio.to_thread(primary.wait_for_standby)
            async with sending(crm, system.public) as crowd:
                await crowd.delivered(FEW)
                await asyncio.to_thread(standby.kill)  # the primary acknowledges no commit without it
                await crowd.refuse(FEW)
                await asyncio.to_thread(standby.start)
                await asyncio.to_thread(primary.wait_for_standby)
                await crowd.delivered(FEW)
                await asyncio.to_thread(primary.kill)
                await asyncio.to_thread(standby.promote)
                await crowd.delivered(FEW)
            assert {*crowd.answers} <= {"200", "202", "503"}, crowd.answers
            await asyncio.to_thread(assert_each_once, system, crowd, crm)
