"""`tallyhook erase`."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from operations.output import CommandError, Json, bar, operator, show, with_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from psycopg import AsyncConnection

    from operations.erasure.erasures import Erasure, Outlook
    from operations.erasure.search import Progress
    from operations.erasure.subjects import Subject

_RUNBOOK: Final = "runbooks/erase-a-subject.md"


def erase(
    *,
    email: Annotated[str | None, typer.Option(help="The person with this address, in all stored data.")] = None,
    user: Annotated[str | None, typer.Option(help="The user with this id, including the contact.")] = None,
    customer: Annotated[
        str | None,
        typer.Option(help="The provider's customer with this id, including payments, subscriptions and invoices."),
    ] = None,
    lead: Annotated[str | None, typer.Option(metavar="PARTNER/EXTERNAL_ID", help="A partner's lead.")] = None,
    payment: Annotated[str | None, typer.Option(help="The provider's payment with this id.")] = None,
    subscription: Annotated[str | None, typer.Option(help="The provider's subscription with this id.")] = None,
    invoice: Annotated[str | None, typer.Option(help="The provider's invoice with this id.")] = None,
    reason: Annotated[
        str | None,
        typer.Option(help="The reason, such as the number of the request; it is kept, so it must not name the person."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be erased, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """
    Erase all stored data about one subject: contents are erased for good; ids, digests and outcomes stay.

    An erased event cannot be replayed any more. The reason is kept, and the subject as a digest.
    """
    from operations.erasure.erasures import preview

    named = {
        "email": email, "user": user, "customer": customer, "lead": lead,
        "payment": payment, "subscription": subscription, "invoice": invoice,
    }  # fmt: skip
    subject = _subject({kind: name for kind, name in named.items() if name is not None})
    if not dry_run and not (reason or "").strip():
        raise CommandError("--reason is missing: give one, such as the number of the request")
    with _progress() as progress:
        outlook = with_database(lambda connection: preview(connection, subject, progress))
    if dry_run:
        _print_outlook(outlook, as_json=as_json)
        return
    if not yes:
        typer.echo(_outlook_text(outlook), err=True)
        typer.confirm(f"Erase all of it, for good, as {subject.kind}?", abort=True, err=True)
    erasure = _carry_out(subject, (reason or "").strip())
    _print_erasure(erasure, outlook, as_json=as_json)
    if erasure.state != "done":
        waiting = f"{erasure.waiting} rows are on their way or parked"
        raise CommandError(f"erasure_incomplete: {waiting}: see `tallyhook outbox status`, and run it again")


def _subject(named: dict[str, str]) -> "Subject":
    from operations.erasure.subjects import subject_of

    if len(named) != 1:
        raise CommandError("name one subject: --email, --user, --customer, --lead, --payment, --subscription or --invoice")
    [(kind, name)] = named.items()
    return subject_of(kind, name)


def _carry_out(subject: "Subject", reason: str) -> "Erasure":
    from gateway.audit_log import note_command
    from operations.erasure import erasures
    from runtime.ids import new_id

    erasure_id, by = new_id(), operator()

    with _progress() as progress:

        async def work(connection: "AsyncConnection") -> "Erasure | None":
            async with connection.transaction():
                await erasures.begin(connection, erasure_id, subject, reason=reason, by=by)
                await note_command(connection, f"tallyhook erase --{subject.kind} ({erasure_id})", by)
            await erasures.carry_out(connection, erasure_id, subject, by=by, progress=progress)
            return await erasures.read(connection, erasure_id)

        return _existing(with_database(work), erasure_id)


def _existing(erasure: "Erasure | None", erasure_id: "UUID") -> "Erasure":
    if erasure is None:
        raise CommandError(f"the erasure {erasure_id} does not exist any more")
    return erasure


@contextmanager
def _progress() -> "Iterator[Progress]":
    with bar("searching", 1.0, counted=False) as shown:
        yield lambda stage, done: shown(description=stage, completed=min(done, 1.0))


def _print_outlook(outlook: "Outlook", *, as_json: bool) -> None:
    import msgspec

    show(msgspec.to_builtins(outlook), _outlook_text(outlook), as_json=as_json)


def _outlook_text(outlook: "Outlook") -> str:
    found = [f"{number:>8,}  {name}" for name, number in outlook.would_erase.items()]
    return "\n".join(
        ["Would be erased:", *found, *_remaining_copies(outlook)]
        if found
        else ["Nothing is stored about this subject.", *_remaining_copies(outlook)]
    )


def _print_erasure(erasure: "Erasure", outlook: "Outlook", *, as_json: bool) -> None:
    import msgspec

    counts = [f"{number:>8,}  {name}" for name, number in erasure.erased.items()]
    text = "\n".join(
        ["Erased:", *(counts or ["nothing was stored about it"]), *_remaining_copies(outlook), f"erasure {erasure.id}"]
    )
    show(msgspec.to_builtins(erasure) | {"documents": outlook.documents}, text, as_json=as_json)


def _remaining_copies(outlook: "Outlook") -> list[str]:
    """Describe the copies that this erasure does not remove."""
    lines = []
    if outlook.kafka_until:
        until = f"{outlook.kafka_until:%Y-%m-%d %H:%M}Z"
        lines.append(f"Kafka holds copies until {until}, or longer if events were replayed: {_RUNBOOK}")
    if outlook.documents:
        lines.append(f"Search documents, which search/index has to delete: {', '.join(outlook.documents)}")
    return lines
