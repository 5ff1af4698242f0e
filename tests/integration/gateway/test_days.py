"""Without a partition for the day no answer is a 500: callers retry, readiness reports it, and side records are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from gateway.audit_log import Audited, AuditLog
from gateway.days import Days
from gateway.errors import Reason
from outbox.partitions import DAILY, make_days, name
from runtime.database import make_pool
from runtime.ids import id_at
from tests.integration.gateway.test_every_route import _ASKS_KAFKA, _TOKENS, GUARDED, WITH_KEY, call, status_and_reason
from tests.integration.gateway.test_webhooks import problem_of, succeeded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateways import StartGateway

DAY = timedelta(days=1)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


def lose_today(connection: psycopg.Connection) -> None:
    for table in DAILY:
        connection.execute(f"drop table {name(table, datetime.now(UTC).date())}")


async def test_a_missing_day_is_a_503_to_come_again_on_every_route_and_no_call_is_lost(
    start_gateway: StartGateway, connection: psycopg.Connection
) -> None:
    async with start_gateway(COMMAND_WAIT="1ms") as gateway:
        lose_today(connection)
        answers: dict[str, tuple[int, str]] = {}
        for route in (each for each in GUARDED if each.name != _ASKS_KAFKA):
            response = await call(gateway, route, _TOKENS[route.role or ""], Idempotency_Key=route.name)
            if response.status >= 500:
                answers[route.name] = await status_and_reason(response)
                assert int(response.headers["Retry-After"]) > 0
        assert {*answers.values()} == {(503, "partition_missing")}
        assert len(answers.keys() & {route.name for route in WITH_KEY}) > 3
        body = succeeded(event_id="evt_1")
        assert (await problem_of(await gateway.post(body), 503))["reason"] == Reason.PARTITION_MISSING
        await gateway.resources.days.check()
        for listener in (gateway.public, gateway.internal):
            async with gateway.client.get(f"{listener}/health/ready") as response:
                assert (await problem_of(response, 503))["reason"] == Reason.PARTITION_MISSING

        make_days(connection, datetime.now(UTC), 2 * DAY)
        await gateway.resources.days.check()
        assert (await gateway.client.get(f"{gateway.public}/health/ready")).status == 200
        assert (await gateway.post(body)).status == 200
        for named in answers:
            [route] = [each for each in GUARDED if each.name == named]
            again = await call(gateway, route, _TOKENS[route.role or ""], Idempotency_Key=named)
            assert again.status < 500
        await gateway.resources.audit.flush()
        noted = await gateway.rows("audit_log")
        assert {row["path"] for row in noted if row["status"] == 503} == {r.path for r in GUARDED if r.name in answers}


async def test_rows_of_a_day_without_a_partition_hold_up_no_others_and_are_kept(
    database_url: str, connection: psycopg.Connection
) -> None:
    """A clock that was wrong for a while made their ids."""
    log = AuditLog(database_url)
    await log.open()
    far = datetime.now(UTC) + 40 * DAY
    for moment in (far, datetime.now(UTC), far):
        log.offer(Audited(id=id_at(moment), method="GET", path="/", status=200, trace_id="", duration_ms=0))
    with pytest.raises(psycopg.errors.CheckViolation):
        await log.flush()
    count = "select count(*) from audit_log"
    assert connection.execute(count).fetchone() == (1,)
    make_days(connection, far, 2 * DAY)
    await log.flush()
    assert connection.execute(count).fetchone() == (3,)
    await log.close()


@pytest.mark.parametrize("days", [40, -40])
async def test_a_gateway_whose_clock_is_wrong_reports_it(database_url: str, days: int) -> None:
    pool = make_pool(database_url, size=1, name="test")
    await pool.open()
    days_check: Any = Days(pool, own=lambda: datetime.now(UTC) + days * DAY)
    await days_check.check()
    reason, detail = days_check.fault
    assert reason is Reason.CLOCK_SKEWED
    assert "3456000 s" in detail
    await pool.close()


async def test_a_rejected_delivery_of_a_missing_day_is_kept_until_the_day_is_there(
    start_gateway: StartGateway, connection: psycopg.Connection
) -> None:
    async with start_gateway() as gateway:
        lose_today(connection)
        assert (await gateway.post(body := succeeded(), secret="whsec_wrong")).status == 401
        with pytest.raises(psycopg.errors.CheckViolation):
            await gateway.resources.rejections.flush()
        make_days(connection, datetime.now(UTC), 2 * DAY)
        await gateway.resources.rejections.flush()
        assert [(row["outcome"], row["body"]) for row in await gateway.rows("webhook_deliveries")] == [("rejected", body)]
