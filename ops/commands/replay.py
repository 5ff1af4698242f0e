"""`tallyhook replay`."""

import typer

app = typer.Typer(no_args_is_help=True, help="Send again what came in, or read again what Kafka holds.")
