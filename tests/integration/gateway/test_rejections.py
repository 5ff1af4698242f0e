"""A rejected delivery that Postgres cannot hold costs no other: it is only counted and logged."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
import pytest
import structlog

from gateway.webhooks import rejected_store
from gateway.webhooks.rejections import Rejected, RejectedLog, _Attempt, _Counts, _Part
from gateway.webhooks.worth import Worth
from ops.processes.routes import WEBHOOKS
from runtime.ids import new_id
from tests.integration.gateway.test_awkward_texts import RAW, send_raw
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.gateways import Gateway, StartGateway

TRUSTING: Final = {"TRUSTED_PROXIES": "127.0.0.0/8"}
STRIPE: Final = next(route for route in WEBHOOKS if route.name == "stripe")
UNSTORABLE: Final[dict[str, dict[str, Any]]] = {
    "half a surrogate pair, which the driver refuses": {"client": "fe80::%\udcff/64"},
    "a NUL, which Postgres refuses": {"headers": {"User-Agent": "a\0b"}},
}


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[RejectedLog]:
    opened = RejectedLog(database_url, kept_per_hour=100)
    await opened.open()
    yield opened
    await opened.close()


def rejected(**changes: Any) -> Rejected:
    sound = Rejected(
        id=new_id(), source="stripe", reason="signature_wrong", trace_id="1" * 32, client="203.0.113.1", headers={}, body=b"{}"
    )
    return msgspec.structs.replace(sound, **changes)


async def found(database_url: str, query: str) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        return [row[0] for row in await (await connection.execute(query.encode())).fetchall()]


async def assert_account(database_url: str, *, kept: Sequence[Rejected], refused: int) -> None:
    assert await found(database_url, "select id from webhook_deliveries order by id") == sorted(row.id for row in kept)
    assert await found(database_url, "select id from rejected_kept order by id") == sorted(row.id for row in kept)
    assert await found(database_url, "select (sum(kept), sum(refused))::text from rejected_quota") == [f"({len(kept)},{refused})"]


@pytest.mark.parametrize("why", UNSTORABLE)
@pytest.mark.parametrize("place", [0, 7, 12])
async def test_a_row_that_cannot_be_stored_loses_no_other_row_and_no_count(
    log: RejectedLog, database_url: str, why: str, place: int
) -> None:
    rows = [rejected() for _ in range(13)]
    for n, row in enumerate(rows):
        log.offer(msgspec.structs.replace(row, **UNSTORABLE[why]) if n == place else row)
    log.offer(rejected(worth=Worth.UNSIGNED))
    with structlog.testing.capture_logs() as lines:
        await log.flush()
        await log.flush()
    await assert_account(database_url, kept=[*rows[:place], *rows[place + 1 :]], refused=2)
    assert await found(database_url, "select sum(count)::int from alert_windows where alert = 'signature_failures'") == [14]
    [line] = [line for line in lines if line["event"] == "rejections_lost"]
    assert (line["reason"], line["rejections"]) == ("rejection_unstorable", 1)


async def test_an_outage_while_it_closes_in_on_a_row_loses_nothing(
    log: RejectedLog, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, away = rejected_store.insert, iter([True])  # the only place where one part alone meets an outage

    async def stumble(connection: psycopg.AsyncConnection, rows: Sequence[Rejected]) -> None:
        if len(rows) == 2 and next(away, False):
            raise psycopg.OperationalError("the server is away for a moment")
        await insert(connection, rows)

    monkeypatch.setattr(rejected_store, "insert", stumble)
    rows = [rejected() for _ in range(4)]
    for row in (*rows, rejected(client="\udcff"), rejected(worth=Worth.UNSIGNED)):
        log.offer(row)
    with suppress(psycopg.OperationalError):  # or its own service has met it
        await log.flush()
    await log.flush()
    assert next(away, None) is None
    await assert_account(database_url, kept=rows, refused=2)


@pytest.mark.parametrize("number", [0, 3])
async def test_a_commit_whose_answer_is_lost_is_counted_once(
    log: RejectedLog, database_url: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write, broken = RejectedLog._write, iter([True])

    async def break_after(self: RejectedLog, *arguments: Any) -> None:
        await write(self, *arguments)
        if next(broken, False):
            raise psycopg.OperationalError("the connection broke after the commit")

    monkeypatch.setattr(RejectedLog, "_write", break_after)
    rows = [rejected() for _ in range(number)]
    for row in (*rows, rejected(worth=Worth.UNSIGNED)):
        log.offer(row)
    with structlog.testing.capture_logs() as lines:
        with suppress(psycopg.OperationalError):  # or its own service has met it
            await log.flush()
        log.offer(later := rejected())
        log.offer(rejected(worth=Worth.UNSIGNED))
        await log.flush()
    assert next(broken, None) is None
    await assert_account(database_url, kept=[*rows, later], refused=2)
    assert await found(database_url, "select sum(count)::int from alert_windows where alert = 'signature_failures'") == [
        number + 3
    ]
    assert [line for line in lines if line["event"] == "rejections_lost"] == []


async def test_a_transaction_that_has_not_ended_is_waited_for(log: RejectedLog, database_url: str) -> None:
    row = rejected()
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        part = _Part([row], _Counts(Counter({row.quota: 1}), Counter()))
        log._uncertain.append(_Attempt(part, await rejected_store.transaction_id(connection)))
        with pytest.raises(psycopg.OperationalError):
            await log.flush()
        assert await found(database_url, "select id from webhook_deliveries") == []
        await connection.rollback()
    await log.flush()
    await assert_account(database_url, kept=[row], refused=1)


async def test_a_row_that_cannot_be_stored_is_counted_in_the_very_last_write(database_url: str) -> None:
    log = RejectedLog(database_url, kept_per_hour=100)
    await log.open()
    row = rejected()
    for each in (row, rejected(client="\udcff")):
        log.offer(each)
    await log.close()
    await assert_account(database_url, kept=[row], refused=1)


async def test_no_byte_of_a_request_keeps_a_rejected_delivery_from_being_stored(
    start_gateway: StartGateway, lenient_parser: None
) -> None:
    del lenient_parser
    names = ("X-Forwarded-For", "User-Agent", "Content-Type", "Stripe-Signature", "traceparent", "Forwarded", "X-Real-IP")
    with structlog.testing.capture_logs() as lines:
        async with start_gateway(**TRUSTING, RATE_LIMIT_WEBHOOKS="off") as gateway:
            calls = [{name: value} for name in names for value in (*RAW, b"fe80::%1", b"fe80::%\xff", b"[fe80::%\xff]:1")]
            answers = [await refuse(gateway, call) for call in calls]
            answers += [await refuse(gateway, {}, STRIPE.path.encode() + path) for path in (b"/\xff", b"?\xff=\xff")]
            await gateway.resources.rejections.flush()
            [counted] = await gateway.rows("rejected_quota")
            clients = {row["client"] for row in await gateway.rows("webhook_deliveries")}
    assert all(400 <= status < 500 for status in answers), answers
    assert counted["kept"] + counted["refused"] > len(calls) / 2
    assert {"fe80::/48", "127.0.0.1"} == clients
    assert [line for line in lines if line["event"] in {"rejections_lost", "request_failed", "round_failed"}] == []


async def refuse(gateway: Gateway, headers: dict[str, bytes], path: bytes | None = None) -> int:
    signature = b"t=%d,v1=%s" % (time.time(), b"0" * 64)
    status, _ = await send_raw(gateway, STRIPE, {"Stripe-Signature": signature, **headers}, path)
    return status


@pytest.mark.parametrize("zone", ["1", "\udcff"])
async def test_a_zone_gives_no_client_a_rate_of_its_own(start_gateway: StartGateway, zone: str) -> None:
    async with start_gateway(**TRUSTING, RATE_LIMIT_WEBHOOKS="1/hour") as gateway:
        assert (await gateway.post(Payment().succeeded(), X_Forwarded_For="2001:db8::7")).status == 200
        forwarded = f"2001:db8::%{zone}".encode("utf-8", "surrogateescape")
        assert await send_raw(gateway, STRIPE, {"X-Forwarded-For": forwarded}) == (429, "rate_limited")
