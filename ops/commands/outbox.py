"""`tallyhook outbox`."""

from typing import Annotated

import typer

from operations.output import CommandError, Json, database, operator, show

app = typer.Typer(no_args_is_help=True, help="The outbox: events that wait for Kafka, and parked ones.")


@app.command("status")
def status(as_json: Json = False) -> None:
    """Show how many events wait for Kafka, since when, and which events are parked."""
    from outbox import relay_store

    with database() as connection:
        depth, parked = relay_store.depth(connection), relay_store.parked(connection)
    rows = [row._asdict() for row in parked]
    text = f"{depth.pending} pending, oldest {depth.oldest or '-'}, {depth.parked} parked"
    text += "".join(f"\n  {row.id}  {row.event_id}  {row.parked_at:%Y-%m-%d %H:%M:%S}  {row.reason}" for row in parked)
    show(depth._asdict() | {"parkedRows": rows}, text, as_json=as_json)


@app.command("unpark")
def unpark(
    ids: Annotated[list[int], typer.Argument(metavar="ID", help="Ids of parked events, as `outbox status` shows them.")],
) -> None:
    """Put parked events back in line, after the cause of Kafka's refusal is removed."""
    from gateway.audit_log import note_command_now
    from outbox import relay_store

    with database() as connection, connection.transaction():
        if done := relay_store.unpark(connection, ids):
            note_command_now(connection, f"tallyhook outbox unpark {' '.join(map(str, done))}", operator())
    if missing := sorted(set(ids) - set(done)):
        raise CommandError(f"not parked: {', '.join(map(str, missing))}" + (f"; back in line: {done}" if done else ""))
    typer.echo(f"back in line: {', '.join(map(str, done))}")
