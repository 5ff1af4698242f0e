"""The audit log: a row for every call of the internal listener, never in the way of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from structlog.testing import capture_logs

from gateway.audit_log import Audited, AuditLog
from runtime.ids import new_id
from runtime.settings import Secret
from tests.gateways import ADMIN, SERVICE, Gateway
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.gateways import StartGateway, Wire

AUDIT: Final = "/v1/admin/audit"
SERVICE_ID: Final = Secret("service").id
ADMIN_ID: Final = Secret("operator").id


async def audited(gateway: Gateway, query: str = "") -> list[dict[str, Any]]:
    await gateway.resources.audit.flush()
    response = await gateway.get(AUDIT + query)
    assert response.status == 200, await response.text()
    items: list[dict[str, Any]] = (await response.json())["items"]
    return items


async def test_a_call_is_recorded_with_who_what_when_and_its_answer(gateway: Gateway) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    await gateway.get(f"/internal/v1/tasks/{new_id()}", SERVICE | {"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    [entry] = await audited(gateway)
    assert entry.pop("durationMs") >= 0
    assert entry.pop("at").endswith("Z")
    assert entry.pop("id")
    assert entry == {
        "actor": SERVICE_ID,
        "role": "service",
        "method": "GET",
        "path": "/internal/v1/tasks/{taskId}",
        "status": 404,
        "reason": "not_found",
        "traceId": trace,
        "client": "127.0.0.1",
    }


async def test_a_refused_caller_is_recorded_with_a_name_if_its_token_is_known(gateway: Gateway) -> None:
    await gateway.get("/internal/v1/config", {"X-Internal-Token": "wrong"})
    await gateway.get(AUDIT, SERVICE)
    found = [(entry["status"], entry["reason"], entry.get("actor")) for entry in await audited(gateway)]
    assert found == [(403, "admin_token_needed", SERVICE_ID), (401, "token_wrong", None)]


async def test_nothing_of_a_path_is_kept_that_a_caller_may_have_put_a_token_into(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of an unknown path, nor as an id, nor in a query; nor in the log."""
    paths = ("/internal/v1/{}", "/internal/v1/tasks/{}", "/v1/admin/payments/{}", "/v1/admin/{}/x", "/internal/v1/config?a={}")
    with capture_logs() as lines:
        for path in paths:
            await gateway.get(path.format("hunter2-token-9f8e"), ADMIN)
        await gateway.get("/v1/admin/payments/pi_3MtwBwLkdIwHu7ix28a3tqPa", ADMIN)
        unknown = new_id()
        await gateway.get(f"/internal/v1/tasks/{unknown}", ADMIN)
    entries = await audited(gateway)
    kept = f"{entries} {lines} {caplog.text} {await gateway.rows('audit_log')}"
    assert "hunter2" not in kept
    assert "MtwBwLkd" not in kept
    assert {entry["path"] for entry in entries} >= {"(no such route)", "/internal/v1/tasks/{taskId}", "/v1/admin/payments/{id}"}
    ids = [line.get("id") or line.get("taskId") for line in lines if line["event"] == "request_refused"]
    assert {"pi_3Mtw…", str(unknown)} <= {*ids}


async def test_requests_without_a_caller_are_not_recorded(gateway: Gateway) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        await gateway.get(path, {})
    assert await audited(gateway) == []


async def test_the_log_is_newest_first_pages_by_cursor_and_is_narrowed_by_filters(gateway: Gateway) -> None:
    for path, headers in (("/internal/v1/config", SERVICE), ("/internal/v1/config", ADMIN), ("/v1/admin/payments/pi_1", ADMIN)):
        await gateway.get(path, headers)
    newest_first = ["/v1/admin/payments/{id}", "/internal/v1/config", "/internal/v1/config"]
    assert [entry["path"] for entry in await audited(gateway)] == newest_first
    assert len(await audited(gateway, f"?actor={SERVICE_ID}")) == 1
    assert len(await audited(gateway, "?actor=service")) == 1
    assert {entry["path"] for entry in await audited(gateway, "?path=/internal/")} == {"/internal/v1/config"}
    assert await audited(gateway, "?from=2999-01-01T00:00:00Z") == []
    assert await audited(gateway, "?to=2020-01-01T00:00:00Z") == []
    page = await (await gateway.get(f"{AUDIT}?limit=1&path=/internal/")).json()
    [older] = (await (await gateway.get(f"{AUDIT}?limit=1&path=/internal/&cursor={page['next']}")).json())["items"]
    assert (page["items"][0]["role"], older["role"]) == ("admin", "service")


@pytest.mark.parametrize("query", ["?limit=0", "?limit=501", "?from=yesterday", "?cursor=x", "?who=me"])
async def test_a_query_that_makes_no_sense_is_refused(gateway: Gateway, query: str) -> None:
    assert (await gateway.get(AUDIT + query)).status == 400


async def test_a_stopping_gateway_writes_its_queued_records(start_gateway: StartGateway) -> None:
    async with start_gateway() as gateway:
        for _ in range(20):
            await gateway.get("/internal/v1/config", SERVICE)
    assert len(await gateway.rows("audit_log")) == 20


async def test_calls_made_while_postgres_was_away_are_recorded_once_it_is_back(start_gateway: StartGateway, wire: Wire) -> None:
    async with start_gateway(DATABASE_URL=wire.url) as gateway:
        wire.cut()
        assert (await gateway.get("/internal/v1/config", SERVICE)).status == 503
        wire.mend()

        async def noted() -> dict[str, Any] | None:
            return next(iter(await gateway.rows("audit_log")), None)

        row = await eventually(noted)
        assert (row["status"], row["reason"]) == (503, "postgres_unavailable")


async def test_waiting_calls_are_limited(database_url: str) -> None:
    log = AuditLog(database_url, waiting_max=2)
    for _ in range(5):
        log.offer(Audited(id=new_id(), method="GET", path="/", status=200, trace_id="", duration_ms=0))
    assert len(log._queue) == 2


async def test_tokens_rotate_while_both_pass_and_a_revoked_one_fails(start_gateway: StartGateway) -> None:
    path = "/internal/v1/config"
    old, new = SERVICE, {"X-Internal-Token": "next"}
    async with start_gateway(INTERNAL_API_TOKEN="next,service") as gateway:
        assert [(await gateway.get(path, headers)).status for headers in (old, new)] == [200, 200]
        assert [entry["actor"] for entry in await audited(gateway)] == [Secret("next").id, SERVICE_ID]
    async with start_gateway(INTERNAL_API_TOKEN="next") as gateway:
        assert [(await gateway.get(path, headers)).status for headers in (old, new)] == [401, 200]
