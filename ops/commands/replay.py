"""`tallyhook replay`."""

import typer

from ops.commands import replay_offsets

app = typer.Typer(no_args_is_help=True, help="Send again what came in, or read again what Kafka holds.")
app.command("offsets")(replay_offsets.offsets)
