"""One subject is erased everywhere; the ledger still balances, and no event of the subject can be sent again."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import psycopg
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from psycopg.types.json import Jsonb

from gateway.webhooks.sources import Arrival
from gateway.webhooks.sources.stripe import translate
from operations.dead_letters import store as dead_letters
from operations.erasure import erasures
from operations.erasure.search import find
from operations.erasure.subjects import Subject, subject_of
from operations.errors import OperationError
from operations.ledger import books
from operations.webhook_replay import store as replay_work
from operations.webhook_replay.store import StoredDelivery
from outbox.append import Received, append, event_of, record
from runtime.ids import id_at, new_id, time_of
from runtime.tracing import new_trace
from schemas.operations import InvalidateCache
from tests.command import tallyhook
from tests.rows import rows
from tests.simulators import stripe
from tests.waiting import eventually

if TYPE_CHECKING:
    import subprocess
    from uuid import UUID

EMAIL: Final = "ada.lovelace+x@example.com"
SUBJECT: Final = Subject("email", EMAIL)


def webhook(body: bytes) -> Received:
    return translate(Arrival(new_id(), new_trace().traceparent, "0" * 8, body, CIMultiDictProxy(CIMultiDict())))


async def arrive(connection: psycopg.AsyncConnection, body: bytes, *, relayed: bool = True) -> UUID:
    received = webhook(body)
    [recorded] = await record(connection, [received])
    assert recorded is not None
    if relayed:
        await connection.execute("delete from outbox_pending")
    return recorded.event_id


async def settle(connection: psycopg.AsyncConnection, event_id: UUID) -> None:
    await connection.execute("insert into consumed (event_id, consumer) values (%s, 'payments')", (event_id,))


async def erase(connection: psycopg.AsyncConnection, subject: Subject = SUBJECT, patience: int = 0) -> erasures.Erasure:
    erasure_id = new_id()
    await erasures.begin(connection, erasure_id, subject, reason="request 7", by="tester")
    await erasures.carry_out(connection, erasure_id, subject, by="tester", patience=patience)
    erasure = await erasures.read(connection, erasure_id)
    assert erasure is not None
    return erasure


async def data_of(connection: psycopg.AsyncConnection, event_id: UUID) -> bytes:
    [row] = await rows(connection, "select data from outbox where id = %s", event_id)
    return bytes(row["data"])


async def test_an_event_keeps_its_digest_and_length_and_nothing_else_of_its_content(connection: psycopg.AsyncConnection) -> None:
    body = stripe.Payment(receipt_email=EMAIL).succeeded()
    event_id = await arrive(connection, body)
    erasure = await erase(connection)
    assert (erasure.state, erasure.erased) == ("done", {"events": 1})
    assert json.loads(await data_of(connection, event_id)) == {
        "erased": {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body), "erasure": str(erasure.id)}
    }


async def test_a_copy_of_it_is_still_a_duplicate_and_the_ledger_still_balances(connection: psycopg.AsyncConnection) -> None:
    body = stripe.Payment(receipt_email=EMAIL).succeeded()
    event_id = await arrive(connection, body)
    await settle(connection, event_id)
    period = (datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(seconds=1))
    before = await books.read(connection, *period)
    await erase(connection)
    after = await books.read(connection, *period)
    assert after.balanced
    assert [each for each in after.sources if each.received] == [each for each in before.sources if each.received]
    [again] = await record(connection, [webhook(body)])
    assert again is not None
    assert (again.outcome, again.event_id) == ("duplicate", event_id)


async def test_it_cannot_be_replayed_and_gives_the_reason(connection: psycopg.AsyncConnection) -> None:
    event_id = await arrive(connection, stripe.Payment(receipt_email=EMAIL).succeeded())
    await erase(connection)
    [verdict] = await replay_work.send(connection, new_id(), [kept(event_id)])
    assert (verdict.state, verdict.reason) == ("failed", "erased")
    assert await rows(connection, "select * from outbox_pending") == []


async def test_a_replay_and_an_erasure_of_one_event_do_not_pass_each_other(
    connection: psycopg.AsyncConnection, database_url: str
) -> None:
    """The second one waits for the first: a replayed event is complete, and an erased one is not sent."""
    ids = [await arrive(connection, stripe.Payment(receipt_email=EMAIL).succeeded()) for _ in range(2)]
    deliveries = [kept(event_id, n) for n, event_id in enumerate(ids)]
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as replaying:
        async with replaying.transaction():
            await replay_work.send(replaying, new_id(), deliveries[:1])
            erasing = asyncio.create_task(erase(connection))
            await wait_for_a_waiter(database_url)
        erasure = await erasing
        assert (erasure.state, erasure.waiting, erasure.erased["events"]) == ("incomplete", 1, 1)
        verdicts = await replay_work.send(replaying, new_id(), deliveries)
        assert [verdict.state for verdict in verdicts] == ["sent", "failed"]
    assert EMAIL.encode() in await data_of(connection, ids[0])


def kept(event_id: UUID, n: int = 0) -> StoredDelivery:
    return StoredDelivery(event_id, "stripe", outcome="accepted", type="payment_intent.succeeded", event_id=event_id, n=n)


async def wait_for_a_waiter(database_url: str) -> None:
    """Return once a session waits for a lock in this database."""
    query = "select true from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as looking:

        async def waiting() -> bool:
            return await (await looking.execute(query)).fetchone() is not None

        await eventually(waiting)


async def test_an_event_that_kafka_does_not_have_yet_waits_and_is_erased_once_it_has(connection: psycopg.AsyncConnection) -> None:
    body = stripe.Payment(receipt_email=EMAIL).succeeded()
    event_id = await arrive(connection, body, relayed=False)
    erasure = await erase(connection)
    assert (erasure.state, erasure.waiting) == ("incomplete", 1)
    assert await data_of(connection, event_id) == body
    await connection.execute("delete from outbox_pending")
    assert (await erase(connection)).state == "done"
    assert EMAIL.encode() not in await data_of(connection, event_id)


@pytest.mark.parametrize("behind", [timedelta(), timedelta(seconds=30)], ids=["same clock", "a worker's clock is behind"])
async def test_its_consequences_are_erased_with_it_and_data_of_others_stays(
    connection: psycopg.AsyncConnection, behind: timedelta
) -> None:
    event_id = await arrive(connection, stripe.Payment(receipt_email=EMAIL).succeeded())
    others = [
        stripe.Payment(receipt_email=address).succeeded()
        for address in ("x" + EMAIL, EMAIL + ".au", EMAIL.replace("ada", "bob"), EMAIL.replace("+x", ""))
    ]
    others_ids = [await arrive(connection, body) for body in others]
    caused = event_of(
        InvalidateCache(keys=["a"]),
        aggregate_id="x", source="/test", occurred_at=datetime.now(UTC), trace=new_trace(), causation_id=event_id,
    )  # fmt: skip
    if behind:
        caused = msgspec.structs.replace(caused, id=id_at(time_of(event_id) - behind))
    async with connection.transaction():
        await append(connection, [caused])
    await connection.execute("delete from outbox_pending")
    assert (await erase(connection)).erased["events"] == 2
    assert [await data_of(connection, each) for each in others_ids] == others


async def test_case_and_notation_of_an_address_do_not_hide_it(connection: psycopg.AsyncConnection) -> None:
    bodies = [
        stripe.Payment(receipt_email=EMAIL.upper()).succeeded(),
        stripe.Payment(metadata={"note": f"sent to <{EMAIL}>, paid."}).succeeded(),
        stripe.Payment(metadata={"note": f"She is {EMAIL}."}).succeeded(),
    ]
    ids = [await arrive(connection, body) for body in bodies]
    assert (await erase(connection)).erased == {"events": 3}
    for each in ids:
        assert (await data_of(connection, each)).startswith(b'{"erased"')


async def test_an_address_directly_after_an_escape_or_a_symbol_is_found(connection: psycopg.AsyncConnection) -> None:
    before = [r"\n", r"\t", r"\u003c", r"\u00A0", r"\u201e", r"\ud83d\ude00", "\u00a0", "\u201e", "\uff1a", "\U0001f600"]
    others = ["\u00e9", r"\u00e9", r"\u002B", r"\u0061", "\u90ae"]
    for each in [*before, *others]:
        await connection.execute(
            """insert into webhook_deliveries (id, source, outcome, reason, trace_id, body)
               values (%s, 'stripe', 'rejected', 'x', '', %s)""",
            (new_id(), f'{{"note":"mail:{each}{EMAIL}"}}'.encode()),
        )
    await connection.execute(
        """insert into notifications (id, recipient, channel, template, data, address, message_id, status, traceparent)
           values (%s, 'u-1', 'EMAIL', 'x', %s, 'other@example.com', 'm', 'sent', '')""",
        (new_id(), Jsonb({"note": f"mail:\n{EMAIL}"})),
    )
    assert (await erase(connection)).erased == {"deliveries": len(before), "notifications": 1}
    kept = {bytes(row["body"]) for row in await rows(connection, "select body from webhook_deliveries")}
    assert {f'{{"note":"mail:{each}{EMAIL}"}}'.encode() for each in others} <= kept


@pytest.mark.parametrize(
    ("subject", "written"),
    [
        (Subject("email", "jane+x@example.com"), r"jane\u002Bx@example.com"),
        (Subject("email", "j\u00fcrgen@m\u00fcller.de"), r"j\u00fcrgen@m\u00FCller.de"),
        (Subject("email", "j\u00fcrgen@m\u00fcller.de"), "J\u00dcRGEN@M\u00dcLLER.DE"),
        (Subject("email", "j\u00fcrgen@m\u00fcller.de"), r"J\u00DCRGEN@m\u00fcller.de"),
        (Subject("user", "a/b\U0001f600"), r"a\/b\ud83d\ude00"),
        (Subject("user", "a/b\U0001f600"), "a/b\U0001f600"),
        (Subject("customer", 'c"\\1'), r"c\"\\1"),
    ],
)
async def test_every_notation_of_json_is_found(connection: psycopg.AsyncConnection, subject: Subject, written: str) -> None:
    for name in (written, "z" + written):
        await connection.execute(
            """insert into webhook_deliveries (id, source, outcome, reason, trace_id, body)
               values (%s, 'stripe', 'rejected', 'x', '', %s)""",
            (new_id(), f'{{"user":"{name}"}}'.encode()),
        )
    assert (await erase(connection, subject)).erased == {"deliveries": 1}
    assert len(await rows(connection, "select from webhook_deliveries where body = %s", f'{{"user":"z{written}"}}'.encode())) == 1


async def test_a_customer_goes_with_all_payments_invoices_and_subscriptions(connection: psycopg.AsyncConnection) -> None:
    payment = stripe.Payment(customer="cus_Abc", receipt_email=EMAIL)
    earlier = await arrive(connection, payment.succeeded())
    refunded = json.loads(payment.refunded(100))
    refunded["data"]["object"]["customer"] = None  # found by the payment's history alone
    later = await arrive(connection, json.dumps(refunded).encode())
    other = await arrive(connection, stripe.Payment(customer="cus_Abcd").succeeded())
    state = json.dumps({"provider": "stripe", "id": payment.id, "contact": [[1, 1, "e"], EMAIL]}).encode()
    await connection.execute(
        """insert into payments
             (provider, id, status, amount, amount_refunded, currency, reference, customer_id, version, updated_at, state)
           values ('stripe', %s, 'succeeded', 1, 0, 'usd', %s, 'cus_Abc', 1, now(), %s)""",
        (payment.id, payment.id, state),
    )
    for event_id in (earlier, later):
        await connection.execute(
            "insert into history values ('payment', %s, %s, %s, 'x', now())", (payment.id, event_id, str(event_id))
        )
    disputed = json.loads(payment.disputed("created"))
    disputed["data"]["object"] |= {"charge": None, "payment_intent": None}  # found by the history of the payment's dispute alone
    dispute = await arrive(connection, json.dumps(disputed).encode())
    await connection.execute(
        """insert into disputes (provider, id, status, amount, currency, payment_id, version, updated_at, state)
           values ('stripe', 'du_1', 'lost', 1, 'usd', %s, 1, now(), '{}')""",
        (payment.id,),
    )
    await connection.execute("insert into history values ('dispute', 'du_1', %s, 'evt_9', 'x', now())", (dispute,))
    assert (await erase(connection, Subject("customer", "cus_Abc"))).erased == {"events": 3, "payments": 1}
    [row] = await rows(connection, "select state, customer_id from payments")
    assert EMAIL.encode() not in bytes(row["state"])
    assert row["customer_id"] == "cus_Abc"
    assert not (await data_of(connection, other)).startswith(b'{"erased"')


async def test_rejected_deliveries_letters_keys_contacts_and_messages_go_too(connection: psycopg.AsyncConnection) -> None:
    about = json.dumps({"to": EMAIL}).encode()
    letter, message, delivery = new_id(), new_id(), new_id()
    await connection.execute(
        """insert into webhook_deliveries (id, source, outcome, reason, trace_id, body)
           values (%s, 'stripe', 'rejected', 'x', '', %s)""",
        (delivery, about),
    )
    await connection.execute(
        """insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", value, headers)
           values (%s, 'payments', 'event_malformed', %s, 'webhooks.stripe', 0, 0, %s, '[]')""",
        (letter, EMAIL, about),
    )
    await connection.execute(
        """insert into notifications (id, recipient, channel, template, data, address, message_id, status, traceparent)
           values (%s, %s, 'EMAIL', 'x', %s, %s, 'm', 'sent', '')""",
        (message, EMAIL, Jsonb({"name": "Ada"}), EMAIL),
    )
    await connection.execute("insert into contacts (user_id, email) values ('u-1', %s)", (EMAIL,))
    await connection.execute(
        """insert into idempotency_keys (scope, key, digest, call_id, claimed_until, status, body, content_type)
           values ('service', 'k', '', %s, now(), 200, %s, 'application/json')""",
        (new_id(), about),
    )
    erasure = await erase(connection)
    assert erasure.erased == {"deliveries": 1, "letters": 1, "notifications": 1, "contacts": 1, "keys": 1}
    for table in ("webhook_deliveries", "dead_letters", "notifications", "contacts", "idempotency_keys", "erasures"):
        assert EMAIL not in str(await rows(connection, f"select * from {table}"))
    [kept] = await rows(connection, "select status, discard_reason from dead_letters")
    assert kept == {"status": "discarded", "discard_reason": "erased"}
    with pytest.raises(OperationError) as refused:
        await dead_letters.retry(connection, letter, "tester")
    assert refused.value.reason == "dead_letter_settled"


async def test_a_lead_goes_by_the_id_that_the_partner_gave_it(connection: psycopg.AsyncConnection) -> None:
    lead_id = new_id()
    await connection.execute(
        "insert into dedup (source, provider_event_id, event_id) values ('partner', 'ACME/crm 1', %s)", (lead_id,)
    )
    for each, external in ((lead_id, "crm 1"), (new_id(), "crm 2")):
        await connection.execute(
            """insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at,
                                  updated_at, version, next_attempt_at)
               values (%s, 'ACME', 'acme', %s, 'retrying', '{"name":"Ada"}', '', now(), now(), 1, now())""",
            (each, external),
        )
        await connection.execute(
            "insert into lead_attempts (lead_id, attempt, started_at, ended_at, excerpt) values (%s, 1, now(), now(), 'Ada')",
            (each,),
        )
    assert (await erase(connection, Subject("lead", "acme/crm 1"))).erased == {"leads": 1}
    [erased, kept] = await rows(connection, "select status, payload, next_attempt_at from leads order by external_lead_id")
    assert (erased["status"], erased["next_attempt_at"]) == ("rejected", None)
    assert bytes(erased["payload"]).startswith(b'{"erased"')
    assert bytes(kept["payload"]) == b'{"name":"Ada"}'
    assert sorted(each["excerpt"] for each in await rows(connection, "select excerpt from lead_attempts")) == ["Ada", "erased"]


async def test_a_lead_that_is_being_delivered_waits(connection: psycopg.AsyncConnection) -> None:
    lead_id = new_id()
    await connection.execute(
        "insert into dedup (source, provider_event_id, event_id) values ('partner', 'ACME/1', %s)", (lead_id,)
    )
    await connection.execute(
        """insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at,
                              updated_at, version, next_attempt_at)
           values (%s, 'ACME', 'acme', '1', 'delivering', '{}', '', now(), now(), 1, now())""",
        (lead_id,),
    )
    erasure = await erase(connection, Subject("lead", "acme/1"))
    assert (erasure.state, erasure.waiting) == ("incomplete", 1)


async def expect_of_user_9(
    connection: psycopg.AsyncConnection, number: int, event_id: UUID, *, status: str, event_type: str, user: str | None
) -> None:
    """Store the payment `pi_<number>` with one event and its own user, and the expectation that user-9 pays it."""
    values = {"number": number, "event": event_id, "status": status, "type": event_type, "user": user}
    await connection.execute(
        """insert into payments
             (provider, id, status, amount, amount_refunded, currency, reference, user_id, version, updated_at, state)
           values ('stripe', 'pi_' || %(number)s, %(status)s, 100, 0, 'eur', 'order-' || %(number)s, %(user)s, 1, now(), '{}')""",
        values,
    )
    await connection.execute(
        """insert into history (aggregate_type, aggregate_id, event_id, provider_event_id, type, occurred_at)
           values ('payment', 'pi_' || %(number)s, %(event)s, 'evt_' || %(number)s, %(type)s, now())""",
        values,
    )
    await connection.execute(
        """insert into reconciliations (reference, user_id, expected_amount, expected_currency)
           values ('order-' || %(number)s, 'user-9', 100, 'eur')""",
        values,
    )


async def test_the_payment_of_a_user_whom_only_the_expectation_names_is_erased_however_often_it_takes(
    connection: psycopg.AsyncConnection,
) -> None:
    event_id = await arrive(connection, stripe.Payment(id="pi_9", receipt_email=EMAIL).failed(), relayed=False)
    await expect_of_user_9(connection, 9, event_id, status="failed", event_type="payment_intent.payment_failed", user=None)
    first = await erase(connection, Subject("user", "user-9"))
    assert (first.state, first.erased) == ("incomplete", {})
    await connection.execute("delete from outbox_pending")
    again = await erase(connection, Subject("user", "user-9"))
    assert (again.state, again.erased) == ("done", {"events": 1, "references": 1})
    assert EMAIL.encode() not in await data_of(connection, event_id)


async def test_a_payment_that_names_another_user_stays_though_the_user_was_expected_to_pay_it(
    connection: psycopg.AsyncConnection,
) -> None:
    event_id = await arrive(connection, stripe.Payment(id="pi_8", receipt_email=EMAIL).succeeded())
    await expect_of_user_9(connection, 8, event_id, status="succeeded", event_type="payment_intent.succeeded", user="user-8")
    erasure = await erase(connection, Subject("user", "user-9"))
    assert (erasure.state, erasure.erased) == ("done", {"references": 1})
    assert EMAIL.encode() in await data_of(connection, event_id)


async def test_the_same_erasure_again_finds_nothing_and_its_subject_is_known_by_digest_only(
    connection: psycopg.AsyncConnection,
) -> None:
    await arrive(connection, stripe.Payment(receipt_email=EMAIL).succeeded())
    first = await erase(connection)
    assert not any((await find(connection, SUBJECT)).counts.values())
    assert (await erase(connection)).erased == {}
    assert [each.id for each in await erasures.of_subject(connection, Subject("email", EMAIL.upper()))][-1] == first.id
    assert (first.reason, first.requested_by) == ("request 7", "tester")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("person", "Ada"), ("email", "ada"), ("user", "1"), ("lead", "acme"), ("customer", ""), ("payment", "a\0bc")],
)
def test_a_request_without_a_subject_is_refused(kind: str, name: str) -> None:
    with pytest.raises(OperationError):
        subject_of(kind, name)


def erase_command(database_url: str, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return tallyhook({"DATABASE_URL": database_url, "USER": "tester"}, "erase", *arguments, typed=typed)


async def test_the_command_shows_what_it_would_erase_asks_and_erases(
    connection: psycopg.AsyncConnection, database_url: str
) -> None:
    event_id = await arrive(connection, stripe.Payment(receipt_email=EMAIL).succeeded())
    body = await data_of(connection, event_id)
    shown = erase_command(database_url, "--email", EMAIL, "--dry-run", "--json")
    assert json.loads(shown.stdout)["wouldErase"] == {"events": 1}
    asked = erase_command(database_url, "--email", EMAIL, "--reason", "request 7", typed="n\n")
    assert asked.returncode != 0
    assert await data_of(connection, event_id) == body
    done = erase_command(database_url, "--email", EMAIL, "--reason", "request 7", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Kafka holds copies until" in done.stdout
    assert (await data_of(connection, event_id)).startswith(b'{"erased"')
    assert EMAIL not in str(await rows(connection, "select * from audit_log"))
    assert len(await rows(connection, "select * from audit_log where method = 'CLI'")) == 1


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ([], "name one subject"),
        (["--email", EMAIL, "--user", "u-1", "--reason", "x"], "name one subject"),
        (["--email", EMAIL], "--reason is missing"),
        (["--email", "ada", "--reason", "x"], "subject_malformed"),
    ],
)
def test_a_wrong_command_is_reported_in_one_line(database_url: str, arguments: list[str], refusal: str) -> None:
    done = erase_command(database_url, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert refusal in done.stderr
