"""The notifications worker on a real Postgres and a real SMTP server."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import psycopg
import pytest
from psycopg.rows import dict_row

from outbox import tasks
from projections import contacts, notifications
from projections.config_view import Config
from runtime.database import make_pool
from runtime.ids import new_id
from runtime.service import running
from runtime.tracing import new_trace
from schemas import registry
from schemas.envelope import Event
from schemas.operations import SendNotification
from schemas.text import RECIPIENT_BYTES
from streams.due import wake_listener
from streams.errors import Poison
from streams.notifications import store
from streams.notifications.decisions import Policy
from streams.notifications.dispatcher import Dispatcher
from streams.notifications.handler import NotificationsHandler
from streams.notifications.mails import Message
from streams.notifications.senders import MailSender, SendFailed, sender_of
from streams.notifications.texts import Texts
from tests.mail import mail_server
from tests.waiting import LIMIT, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from uuid import UUID

    from psycopg import AsyncConnection

    from runtime.database import Pool
    from tests.mail import MailServer

PAID: dict[str, Any] = {"providerPaymentId": "pi_1", "amount": 2990, "currency": "eur"}
NOW = timedelta(0)
LEASE = timedelta(seconds=10)
POLL = timedelta(milliseconds=20)


class Counting(Dispatcher):
    """A dispatcher that counts the outcomes of its attempts."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.outcomes: Counter[str] = Counter()

    def _count(self, outcomes: Iterable[str]) -> None:
        found = [*outcomes]
        self.outcomes.update(found)
        super()._count(found)


class Worker:
    """Handles commands, sends due notifications, and reads the results."""

    def __init__(self, connection: AsyncConnection, pool: Pool, mail: MailServer) -> None:
        self._connection = connection
        self._pool = pool
        self._mail = mail
        self._senders: list[MailSender] = []
        self.config = Config()
        self._handler = NotificationsHandler({"EMAIL"}, "tallyhook.test")

    async def command(
        self, to: str, *, template: str = "payment-succeeded", data: dict[str, Any] | None = None, fallback: str | None = None
    ) -> UUID:
        shown = PAID if data is None else data
        record = SendNotification(to=to, channel="EMAIL", template=template, data=shown, fallback=fallback)
        kind = registry.type_of(record)
        event = Event(
            id=new_id(), topic=kind.topic, aggregate_id="k", source="/test", type=kind.name, dataschema=kind.dataschema,
            occurred_at=datetime.now(UTC),
            traceparent=new_trace().traceparent, data=registry.encode(record),
        )  # fmt: skip
        async with self._connection.transaction():
            await tasks.open_task(self._connection, event.id, "notification.send")
            await self._handler.handle(self._connection, [event])
        return event.id

    def dispatcher(self, *, attempts: int = 3, lease: timedelta = LEASE, poll: timedelta = POLL) -> Counting:
        sender = sender_of(self._mail.url, seconds=LIMIT, threads=1)
        assert isinstance(sender, MailSender)
        self._senders.append(sender)
        return Counting(
            "EMAIL",
            sender,
            self._pool,
            Texts(),
            Policy(attempts, NOW, NOW),
            config=self.config,
            limit=50,
            lease=lease,
            poll=poll,
        )

    async def send(self, **settings: Any) -> dict[str, int]:
        """Start the due attempts, wait for their end, store the outcomes; return their counts."""
        dispatcher = self.dispatcher(**settings)
        await dispatcher.run_once()
        await dispatcher.idle()
        await dispatcher.close()
        return dict(dispatcher.outcomes)

    def close(self) -> None:
        for sender in self._senders:
            sender.close()

    async def read(self, notification_id: UUID) -> notifications.NotificationView:
        found = await notifications.notification(self._connection, notification_id)
        assert found is not None
        return found

    async def task(self, task_id: UUID) -> tasks.Task:
        found = await tasks.read(self._connection, task_id)
        assert found is not None
        return found

    async def emitted(self) -> list[tuple[str, dict[str, Any]]]:
        cursor = self._connection.cursor(row_factory=dict_row)
        await cursor.execute("select o.type, o.data from outbox_pending p join outbox o on o.id = p.event_id order by p.id")
        return [(row["type"], orjson.loads(row["data"])) for row in await cursor.fetchall()]

    async def know(self, user_id: str, **reach: Any) -> None:
        await contacts.put(self._connection, user_id, msgspec.convert(reach, contacts.Reach))


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
async def worker(database_url: str, mail: MailServer) -> AsyncIterator[Worker]:
    pool = make_pool(database_url, size=5, name="test")
    await pool.open()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        made = Worker(connection, pool, mail)
        yield made
        made.close()
    await pool.close()


async def test_a_command_becomes_a_mail_with_its_data_and_its_end_is_emitted(worker: Worker, mail: MailServer) -> None:
    await worker.know("u-1", email="zoe@example.com")
    sent = await worker.command("u-1")
    assert (await worker.read(sent)).status == "queued"
    assert await worker.send() == {"sent": 1}
    [taken] = mail.mails
    assert (taken.recipients, taken.message["From"], taken.message["To"]) == (
        ["zoe@example.com"], "Shop <shop@example.com>", "zoe@example.com",
    )  # fmt: skip
    assert taken.message["Subject"] == "Your payment of 29.90 EUR has arrived"
    assert "29.90 EUR" in taken.text
    view = await worker.read(sent)
    assert (view.status, view.attempts, view.message_id, view.to) == ("sent", 1, taken.id, "u-1")
    assert taken.id == f"<{sent.hex}@tallyhook.test>"
    [(kind, data)] = await worker.emitted()
    assert (kind, data["id"], data["messageId"]) == ("notification.sent", str(sent), taken.id)
    assert (await worker.task(sent)).status == "done"
    assert await worker.send() == {}


async def test_an_amount_is_written_as_the_reader_and_the_provider_have_it(worker: Worker, mail: MailServer) -> None:
    await worker.know("u-1", email="zoe@example.com", locale="de-DE")
    await worker.command("u-1", data={**PAID, "amount": 123_456, "provider": "stripe"})
    await worker.command("jon@example.com", data={**PAID, "amount": 50_000, "currency": "isk", "provider": "stripe"})
    assert await worker.send() == {"sent": 2}
    assert {taken.message["Subject"].replace("\N{NO-BREAK SPACE}", " ") for taken in mail.mails} == {
        "Your payment of 1.234,56 € has arrived", "Your payment of 500 ISK has arrived",
    }  # fmt: skip


async def test_a_user_who_opted_out_gets_nothing_and_that_is_emitted(worker: Worker, mail: MailServer) -> None:
    await worker.know("u-1", email="zoe@example.com", optOuts=["EMAIL"])
    named, addressed = await worker.command("u-1"), await worker.command("zoe@example.com")
    assert await worker.send() == {}
    assert mail.mails == []
    for each in (named, addressed):
        view = await worker.read(each)
        assert (view.status, view.reason, view.attempts) == ("suppressed", "opted_out", 0)
        assert (await worker.task(each)).result == {"status": "suppressed", "messageId": view.message_id}
    assert [kind for kind, _ in await worker.emitted()] == ["notification.suppressed"] * 2


async def test_a_user_who_opts_out_while_a_message_waits_does_not_get_it(worker: Worker, mail: MailServer) -> None:
    await worker.know("u-1", email="zoe@example.com")
    waiting = await worker.command("u-1")
    await worker.know("u-1", email="zoe@example.com", optOuts=["EMAIL"])
    assert await worker.send() == {"suppressed": 1}
    assert mail.mails == []
    assert (await worker.read(waiting)).status == "suppressed"


async def test_an_unknown_user_cannot_be_reached_and_that_is_emitted(worker: Worker) -> None:
    lost = await worker.command("u-unknown")
    view = await worker.read(lost)
    assert (view.status, view.reason) == ("failed", "contact_unknown")
    task = await worker.task(lost)
    assert (task.status, task.reason) == ("failed", "contact_unknown")
    assert [kind for kind, _ in await worker.emitted()] == ["notification.failed"]


async def test_an_unknown_payer_gets_the_mail_at_the_address_of_the_event(worker: Worker, mail: MailServer) -> None:
    await worker.know("u-optout", email="none@example.com", optOuts=["EMAIL"])
    sent = await worker.command("u-unknown", fallback="payer@example.com")
    refused = await worker.command("u-unknown", fallback="none@example.com")
    assert await worker.send() == {"sent": 1}
    assert [taken.recipients for taken in mail.mails] == [["payer@example.com"]]
    assert ((await worker.read(sent)).to, (await worker.read(sent)).address) == ("u-unknown", "payer@example.com")
    assert (await worker.read(refused)).reason == "opted_out"


@pytest.mark.parametrize("letters", ["abcdefghijklmnopqrstuvwxyz", "".join(map(chr, range(0x4E00, 0x9FFF)))])
async def test_a_payers_address_that_no_index_holds_is_none(worker: Worker, letters: str) -> None:
    """A provider may state such an address; Postgres would compress repeated letters, so that it fits."""
    long = "".join(Random(1).choices(letters, k=3000)) + "@gmail.com"
    made = [await worker.command(long), await worker.command("u-unknown", fallback=long)]
    views = [await worker.read(each) for each in made]
    assert [(view.status, view.reason) for view in views] == [("failed", "address_invalid")] * 2
    assert long.startswith(views[0].to)
    assert len(long[: len(views[0].to) + 1].encode()) > RECIPIENT_BYTES
    assert [kind for kind, _ in await worker.emitted()] == ["notification.failed"] * 2


async def test_a_command_that_no_text_can_be_made_of_is_poison(worker: Worker) -> None:
    for template, data, reason in (("other", PAID, "template_unknown"), ("payment-succeeded", {}, "data_missing")):
        with pytest.raises(Poison) as caught:
            await worker.command("zoe@example.com", template=template, data=data)
        assert caught.value.reason == reason
        assert caught.value.event_id is not None


async def test_a_paused_channel_sends_nothing_until_it_goes_on(worker: Worker, mail: MailServer) -> None:
    await worker.command("zoe@example.com")
    worker.config.replace({"channel.EMAIL.paused": True, "channel.SMS.paused": False})
    assert await worker.send() == {}
    worker.config.replace({"channel.EMAIL.paused": False})
    assert await worker.send() == {"sent": 1}
    assert len(mail.mails) == 1


async def test_with_the_server_away_it_is_tried_again_under_the_same_id(worker: Worker, mail: MailServer) -> None:
    mail.stop()
    sent = await worker.command("zoe@example.com")
    assert await worker.send() == {"retried": 1}
    view = await worker.read(sent)
    assert (view.status, view.attempts, view.reason) == ("queued", 1, "smtp_unavailable")
    mail.listen()
    assert await worker.send() == {"sent": 1}
    assert (await worker.read(sent)).attempts == 2
    assert mail.ids == {view.message_id: 1}


async def test_after_the_last_attempt_it_has_failed(worker: Worker, mail: MailServer) -> None:
    mail.stop()
    lost = await worker.command("zoe@example.com")
    assert [await worker.send(attempts=2) for _ in range(3)] == [{"retried": 1}, {"failed": 1}, {}]
    view = await worker.read(lost)
    assert (view.status, view.attempts, view.reason) == ("failed", 2, "smtp_unavailable")
    [(kind, data)] = await worker.emitted()
    assert (kind, data["reason"], data["attempts"]) == ("notification.failed", "smtp_unavailable", 2)
    assert (await worker.task(lost)).reason == "smtp_unavailable"


@pytest.mark.parametrize(
    ("line", "outcome", "reason"),
    [("550 no such user", "failed", "recipient_refused"), ("451 try later", "retried", "recipient_refused")],
)
async def test_a_refusal_for_good_ends_it_and_another_does_not(
    worker: Worker, mail: MailServer, line: str, outcome: str, reason: str
) -> None:
    mail.refuse = lambda address: line if address == "zoe@example.com" else None
    refused, taken = await worker.command("zoe@example.com"), await worker.command("tim@example.com")
    assert await worker.send() == {outcome: 1, "sent": 1}
    view = await worker.read(refused)
    assert (view.reason, line.split(" ", 1)[1] in (view.error or "")) == (reason, True)
    assert (await worker.read(taken)).status == "sent"


async def test_a_worker_that_was_stopped_past_its_claim_does_not_send(worker: Worker, mail: MailServer) -> None:
    sent = await worker.command("zoe@example.com")
    assert await worker.send(lease=timedelta(microseconds=10)) == {"retried": 1}
    assert mail.mails == []
    assert (await worker.read(sent)).reason == "interrupted"


async def test_a_claim_is_renewed_while_the_provider_takes_its_time(worker: Worker) -> None:
    sent = await worker.command("zoe@example.com")
    lease = timedelta(seconds=2)
    sender, released = worker.dispatcher(lease=lease), asyncio.Event()

    async def slow(_: object) -> None:
        await released.wait()

    sender.sender.send = slow  # type: ignore[method-assign]
    async with running(sender):
        begun = datetime.now(UTC)

        async def held_for_long() -> bool | None:
            return datetime.now(UTC) - begun > 1.5 * lease or None

        await eventually(held_for_long)
        assert await worker.send() == {}
        released.set()

        async def is_sent() -> bool | None:
            return sender.outcomes["sent"] == 1 or None

        await eventually(is_sent)
    assert (await worker.read(sent)).attempts == 1


async def test_a_message_of_a_dead_worker_is_sent_again_under_the_same_id(worker: Worker, mail: MailServer) -> None:
    """The mail was sent, and the worker died before it could store that."""
    sent = await worker.command("zoe@example.com")
    dispatcher = worker.dispatcher(lease=timedelta(milliseconds=300))
    await dispatcher.run_once()
    await dispatcher.idle()
    assert len(mail.mails) == 1
    assert (await worker.read(sent)).status == "sending"

    async def again() -> dict[str, int] | None:
        return await worker.send() or None

    assert await eventually(again) == {"sent": 1}
    view = await worker.read(sent)
    assert mail.ids == {view.message_id: 2}
    assert (view.status, view.attempts) == ("sent", 2)
    assert [kind for kind, _ in await worker.emitted()] == ["notification.sent"]


@pytest.mark.parametrize("status", ["queued", "sending"])
async def test_a_message_whose_time_was_stored_while_the_clock_was_ahead_is_due_again(worker: Worker, status: str) -> None:
    sent = await worker.command("zoe@example.com")
    other = await worker.command("jo@example.com")
    move = "update notifications set status = %s, next_attempt_at = now() + %s where id = %s"
    await worker._connection.execute(move, (status, timedelta(days=365), sent))
    await worker._connection.execute(move, ("queued", timedelta(hours=23), other))  # NOTIFY_RETRY_MAX was longer once
    assert await worker.send() == {}
    soon = "select id from notifications where next_attempt_at <= now() + interval '2 minutes'"
    assert await (await worker._connection.execute(soon)).fetchall() == [(sent,)]
    await worker._connection.execute("update notifications set next_attempt_at = now()")
    assert await worker.send() == {"sent": 2}


async def test_it_is_sent_when_its_commit_is_heard_of(worker: Worker, database_url: str) -> None:
    dispatcher = worker.dispatcher(poll=timedelta(hours=1))
    async with running(wake_listener(database_url, store.DUE_CHANNEL, dispatcher), dispatcher):
        for name in ("jo", "zoe"):
            sent = await worker.command(f"{name}@example.com")

            async def is_sent(notification_id: UUID = sent) -> bool | None:
                return (await worker.read(notification_id)).status == "sent" or None

            await eventually(is_sent)


async def test_workers_side_by_side_send_each_mail_once(worker: Worker, mail: MailServer) -> None:
    for number in range(120):
        await worker.command(f"user{number}@example.com")
    rounds = await asyncio.gather(*(worker.send() for _ in range(3)))
    assert sum(each.get("sent", 0) for each in rounds) == 120
    assert len(mail.ids) == len(mail.mails) == 120


async def test_large_mails_are_claimed_by_their_bytes_and_one_that_is_larger_alone(
    worker: Worker, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CLAIM_BYTES", 1000)
    for size in (400, 400, 400, 2000, 100):
        await worker.command("user@example.com", data={**PAID, "providerPaymentId": "x" * size})
    assert [await worker.send() for _ in range(5)] == [{"sent": 2}, {"sent": 1}, {"sent": 1}, {"sent": 1}, {}]
    assert len(mail.ids) == len(mail.mails) == 5


async def test_a_number_and_a_text_reach_a_provider_by_its_url() -> None:
    taken: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(orjson.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204 if self.path == "/sms" else 500)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        message = Message("<a@b>", "+4915112345678", Texts().render("payment-succeeded", "SMS", PAID))
        sender = sender_of(f"json://127.0.0.1:{server.server_port}/sms", seconds=5, threads=1)
        await sender.send(message)
        sender.close()
        refusing = sender_of(f"json://127.0.0.1:{server.server_port}/other", seconds=5, threads=1)
        with pytest.raises(SendFailed) as caught:
            await refusing.send(message)
        refusing.close()
        server.shutdown()
        thread.join()
    assert (taken[0]["to"], taken[0]["id"]) == ("+4915112345678", "<a@b>")
    assert "29.90 EUR" in taken[0]["message"]
    assert (caught.value.reason, caught.value.permanent) == ("provider_refused", False)
