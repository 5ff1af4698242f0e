"""An error in one notification's address, text, server or storing affects that one only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.service import running
from streams.notifications import dispatcher as dispatcher_module
from streams.notifications import senders, store
from tests.integration.streams.test_notifications import Worker, mail, worker
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from tests.mail import MailServer

__all__ = ["mail", "worker"]

NEVER: Final = (
    "jo@gmail..com", "jo@gmail.com.", "jo@[10.0.0.1", ".jo@gmail.com", "jo.@gmail.com", "=?utf-8?q?eve?=@gmail.com",
    "jo@" + "a" * 300 + ".com", "jo@-gmail.com", "jo@xn--\u00e9.com",
)  # fmt: skip


async def know(worker: Worker, address: str) -> str:
    """Store a user with any address."""
    user = f"u-{abs(hash(address))}"
    await worker.know(user, email="jo@example.com")
    await worker._connection.execute("update contacts set email = %s where user_id = %s", (address, user))
    return user


@pytest.mark.parametrize("address", NEVER)
async def test_an_impossible_address_fails_at_once(worker: Worker, mail: MailServer, address: str) -> None:
    """Case 01."""
    bad, good = await worker.command(await know(worker, address)), await worker.command("zoe@example.com")
    assert await worker.send() == {"sent": 1}
    view = await worker.read(bad)
    assert (view.status, view.reason, view.attempts) == ("failed", "address_invalid", 0)
    assert (await worker.read(good)).status == "sent"
    assert (await worker.task(bad)).reason == "address_invalid"
    assert [kind for kind, _ in await worker.emitted()].count("notification.failed") == 1
    assert [each.recipients for each in mail.mails] == [["zoe@example.com"]]


@pytest.mark.parametrize("address", NEVER)
async def test_it_hides_no_good_address(worker: Worker, mail: MailServer, address: str) -> None:
    """Case 20: as the user's id, and as the user's own address."""
    sent = [await worker.command(to, fallback="payer@example.com") for to in (address, await know(worker, address))]
    assert await worker.send() == {"sent": 2}
    assert [(await worker.read(each)).address for each in sent] == ["payer@example.com"] * 2
    assert [each.recipients for each in mail.mails] == [["payer@example.com"]] * 2


@pytest.mark.parametrize("address", NEVER)
async def test_one_that_was_queued_by_an_older_release_has_failed_after_one_attempt(
    worker: Worker, mail: MailServer, address: str
) -> None:
    bad, good = await worker.command("jo@example.com"), await worker.command("zoe@example.com")
    await worker._connection.execute("update notifications set address = %s where id = %s", (address, bad))
    assert await worker.send() == {"failed": 1, "sent": 1}
    view = await worker.read(bad)
    assert (view.status, view.reason, view.attempts) == ("failed", "address_invalid", 1)
    assert (await worker.read(good)).status == "sent"
    assert [each.recipients for each in mail.mails] == [["zoe@example.com"]]


async def test_a_mail_goes_to_an_international_address(worker: Worker, mail: MailServer) -> None:
    await worker.command(await know(worker, "jo@bücher.example"))
    await worker.command(await know(worker, "zoë@bücher.example"))
    mail.stop()
    mail.listen(utf8=True)
    assert await worker.send() == {"sent": 2}
    recipients = sorted(each.recipients[0] for each in mail.mails)
    assert recipients == ["jo@xn--bcher-kva.example", "zoë@xn--bcher-kva.example"]


async def test_a_message_that_needs_smtputf8_fails_at_a_server_without_it(worker: Worker) -> None:
    bad = await worker.command(await know(worker, "zoë@example.com"))
    assert await worker.send() == {"failed": 1}
    assert (await worker.read(bad)).reason == "smtputf8_unsupported"


class Surprise(Exception):
    """An unexpected error."""


def breaking(original: Callable[..., Any], culprit: UUID) -> Callable[..., Any]:
    """Wrap the function so that it raises if it is called with the bad notification."""

    def broken(*arguments: Any, **named: Any) -> Any:
        if culprit.hex in str(arguments) or str(culprit) in str(arguments):
            raise Surprise("boo\0\udc80")
        return original(*arguments, **named)

    return broken


@pytest.mark.parametrize(
    "error", [Surprise("boo\0\udc80"), RecursionError(), asyncio.CancelledError(), ExceptionGroup("x", [OSError()])]
)
async def test_errors_in_attempts_are_counted_and_limited(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    bad, good = await worker.command("jo@example.com"), await worker.command("zoe@example.com")
    mail_of = senders.mail_of

    def broken(message: senders.Message, *given: Any) -> Any:
        if message.address == "jo@example.com":
            raise error
        return mail_of(message, *given)

    monkeypatch.setattr(senders, "mail_of", broken)
    for _ in range(5):
        await worker.send(attempts=3)
        await worker._connection.execute("update notifications set next_attempt_at = now() where next_attempt_at is not null")
    view = await worker.read(bad)
    assert (await worker.read(good)).status == "sent"
    assert view.status == "failed"
    assert (view.reason, view.attempts) == ("attempt_failed", 3)
    assert type(error).__name__ in str(view.error)


async def test_an_outcome_that_cannot_be_stored_affects_its_own_notification_only(
    worker: Worker, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await worker.command("jo@example.com"), await worker.command("zoe@example.com")
    monkeypatch.setattr(store, "event_of", breaking(store.event_of, bad))
    for _ in range(3):
        await worker.send(attempts=2)
        await worker._connection.execute("update notifications set next_attempt_at = now() where next_attempt_at is not null")
    assert (await worker.read(good)).status == "sent"
    view = await worker.read(bad)
    assert (view.status, view.reason) == ("failed", "outcome_unwritable")
    assert mail.ids[view.message_id] == 2


async def test_a_notification_that_cannot_be_read_has_failed(worker: Worker) -> None:
    bad, deep, good = [await worker.command(f"{name}@example.com") for name in ("jo", "jim", "zoe")]
    await worker._connection.execute("update notifications set data = %s::jsonb where id = %s", ("1" * 5000, bad))
    await worker._connection.execute("update notifications set data = %s::jsonb where id = %s", ("[" * 3000 + "]" * 3000, deep))
    assert await worker.send() == {"failed": 2, "sent": 1}
    assert {(await worker.read(each)).reason for each in (bad, deep)} == {"notification_unreadable"}
    assert (await worker.read(good)).status == "sent"


async def test_no_address_and_no_answer_of_the_server_stops_the_channel(worker: Worker, mail: MailServer) -> None:
    cases: list[tuple[str, str]] = []
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=80)
    address = st.one_of(text, st.emails(), st.builds("{}@{}".format, text, text), st.sampled_from(NEVER))
    answer = st.one_of(
        st.just("250 OK"), st.builds("{} {}".format, st.integers(200, 599), st.text(max_size=40)), st.text(max_size=20)
    )

    @settings(max_examples=100, database=None, suppress_health_check=[*HealthCheck])
    @given(address, answer)
    def collect(address: str, answer: str) -> None:
        cases.append((address, answer))

    collect()
    answers = dict(cases)
    mail.refuse = lambda address: answers.get(address, "250 OK") if not answers.get(address, "250").startswith("250") else None
    ids = [await worker.command(await know(worker, address)) for address in answers]
    good = await worker.command("zoe-the-last@example.com")
    for _ in range(6):
        await worker.send(attempts=2)
    assert (await worker.read(good)).status == "sent"
    assert {(await worker.read(each)).status for each in ids} <= {"sent", "failed"}
    assert {(await worker.read(each)).reason for each in ids}.isdisjoint({"attempt_failed", "outcome_unwritable"})


async def test_the_loop_outlives_a_round_that_fails(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, rounds = store.claim, 0

    async def broken(*given: Any) -> Any:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise Surprise
        return await claim(*given)

    monkeypatch.setattr(dispatcher_module.store, "claim", broken)
    monkeypatch.setattr("runtime.failures._FIRST", 0.01)
    sent = await worker.command("zoe@example.com")

    async def is_sent() -> bool | None:
        return (await worker.read(sent)).status == "sent" or None

    async with running(worker.dispatcher()):
        await eventually(is_sent)
